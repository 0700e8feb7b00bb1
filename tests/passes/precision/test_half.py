"""float16 graphs: strongly typed, close to float32, with islands where asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecls.errors import DataError, ModelError
from edgecls.passes import optimize_graph
from edgecls.passes.precision import PrecisionOptions, computes_low, set_precision
from tests.models import MODELS, Builder, convolution, random_feed, run_onnxruntime
from tests.passes.precision.networks import constants, large_constant, masked, overflowing, parsed

FP16 = PrecisionOptions(precision="fp16")
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def outputs(graph, batch, feed):
    import onnxruntime as ort

    session = ort.InferenceSession(graph.onnx[batch], providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


@pytest.mark.parametrize("model", [m for m in MODELS if m != "reductions"])  # an ArgMax may flip: see below
def test_every_network_computes_the_same_to_half_precision(model):
    exported = MODELS[model]()
    half = set_precision(optimize_graph(exported, [1, 3]), FP16)
    for batch in (1, 3):
        onnx.checker.check_model(parsed(half, batch), full_check=True)
        feed = random_feed(exported, batch)
        for name, wanted in run_onnxruntime(exported, feed).items():
            got = outputs(half, batch, feed)[name]
            assert got.dtype == wanted.dtype and got.shape == wanted.shape
            assert np.abs(got.astype(np.float64) - wanted).max() <= 5e-3 * max(1e-3, float(np.abs(wanted).max())), name


def test_a_reduction_in_half_keeps_its_types():
    half = set_precision(optimize_graph(MODELS["reductions"]()), FP16)
    onnx.checker.check_model(parsed(half), full_check=True)
    assert {o.type.tensor_type.elem_type for o in parsed(half).graph.output} == {FLOAT, onnx.TensorProto.INT64}


def test_the_whole_network_is_half_and_its_ends_are_float():
    before = optimize_graph(MODELS["classifier"]())
    model = parsed(set_precision(before, FP16))
    assert {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)} == {FLOAT}
    assert {t.data_type for t in model.graph.initializer} <= {HALF, onnx.TensorProto.INT64}
    casts = [n for n in model.graph.node if n.op_type == "Cast"]
    assert len(casts) == 2  # the network's input and its output, nothing between
    assert {n.name for n in parsed(before).graph.node} <= {n.name for n in model.graph.node}


def test_islands_stay_float_by_name_and_by_pattern():
    before = optimize_graph(MODELS["classifier"]())
    convolutions = [n.name for n in parsed(before).graph.node if n.op_type == "Conv"]
    for keep, kept in (((convolutions[1],), {convolutions[1]}), (("Conv*",), set(convolutions))):
        graph = set_precision(before, PrecisionOptions(precision="fp16", keep_fp32=keep))
        model = parsed(graph)
        weights = {n.name: constants(model)[n.input[1]].dtype for n in model.graph.node
                   if n.op_type == "Conv" and n.input[1] in constants(model)}
        assert {name for name, dtype in weights.items() if dtype == np.float32} == kept
        assert {n for n in graph.precision.kept_fp32 if n in weights} == kept  # with what moves values between them
        onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(("network", "error", "hint", "keep", "casts"), [
    # casts at both ends of the network and of the island, none inside it
    (overflowing, "stops being finite", "--keep-sensitive", ("scale", "unscale"), 4),
    (masked, "'clip' meets values beyond float16's 65504", "--keep-fp32 'clip'", ("clip", "unscale"), 0),
])
def test_an_overflow_is_an_error_and_an_island_cures_it(network, error, hint, keep, casts):
    before = optimize_graph(network())
    with pytest.raises(ModelError, match=error) as caught:
        set_precision(before, FP16)
    assert hint in caught.value.hint
    graph = set_precision(before, PrecisionOptions(precision="fp16", keep_fp32=keep))
    assert graph.passes[-1].max_difference < 1e-2
    assert len([n for n in parsed(graph).graph.node if n.op_type == "Cast"]) == casts


@pytest.mark.parametrize(("weight", "factor", "kept"), [(1e-6, 1e6, ("mul",)), (1e-2, 6e4, ())])
def test_a_constant_beyond_the_range_keeps_its_readers_float(weight, factor, kept):
    exported = large_constant(weight, factor)
    graph = set_precision(optimize_graph(exported, [1, 3]), FP16)
    assert graph.precision.beyond_fp16 == graph.precision.kept_fp32 == kept
    for batch in (1, 3):
        onnx.checker.check_model(parsed(graph, batch), full_check=True)
        feed = random_feed(exported, batch)
        wanted, got = run_onnxruntime(exported, feed)["y"], outputs(graph, batch, feed)["y"]
        assert np.abs(got - wanted).max() <= 0.05 * np.abs(wanted).max()  # weights of 1e-6 keep 4 bits


def test_bounds_and_infinities_beyond_the_range_lose_nothing_in_half():
    b = Builder()
    x = b.node("Clip", b.input("x", ("batch", 9)), b.constant(0, np.float32), b.constant(3e38, np.float32))
    b.output(b.node("Where", b.constant([True] * 4 + [False] * 5, bool), x, b.constant(-np.inf, np.float32)), "y")
    graph = set_precision(optimize_graph(b.finish()), FP16)
    assert graph.precision.kept_fp32 == ()


def test_sensitivity_finds_the_layers_that_disturb_most():
    graph = set_precision(optimize_graph(overflowing()), PrecisionOptions(precision="fp16", keep_sensitive=2))
    assert graph.precision.kept_fp32 == ("scale", "unscale")
    assert graph.passes[-1].max_difference < 1e-2


@pytest.mark.parametrize("how", [{"keep_sensitive": 5}, {"keep_sensitive": 1}, {"keep_fp32": ("conv", "mul")}])
def test_the_way_out_of_an_overflow_leads_out(how):
    """What leaves float16's range passes through a node that only moves it."""
    exported = large_constant(3e4, 1e-5)
    with pytest.raises(ModelError, match="stops being finite"):
        set_precision(optimize_graph(exported), FP16)
    graph = set_precision(optimize_graph(exported), PrecisionOptions(precision="fp16", **how))
    assert graph.precision.kept_fp32 == ("conv", "flatten", "mul") and graph.precision.beyond_fp16 == ("conv",)
    feed = random_feed(exported)
    wanted, got = run_onnxruntime(exported, feed)["y"], outputs(graph, 1, feed)["y"]
    assert np.abs(got - wanted).max() <= 1e-3 * np.abs(wanted).max()


def test_what_moves_values_stays_float_between_nodes_that_do_and_at_the_ends():
    b = Builder()
    x = b.node("Transpose", b.input("x", ("batch", 3, 4, 4)), perm=[0, 1, 3, 2], name="first")
    x = b.node("Relu", convolution(x, b, 3, 4, pads=[1, 1, 1, 1], name="kept"), name="after")
    x = b.node("MaxPool", x, kernel_shape=[2, 2], name="pool")
    y = b.node("Concat", x, b.node("Sigmoid", x, name="other"), axis=1, name="both")
    y = b.node("Relu", convolution(y, b, 8, 4, 1, name="kept_too"), name="relu")
    b.output(b.node("Flatten", y, name="last"), "y")
    b.output(b.node("Flatten", b.node("Sigmoid", y, name="low"), name="low_end"), "z")
    options = PrecisionOptions(precision="fp16", keep_fp32=("kept", "kept_too"))
    graph = set_precision(optimize_graph(b.finish()), options)
    assert set(graph.precision.kept_fp32) == {"first", "kept", "after", "pool", "both", "kept_too", "relu", "last"}
    onnx.checker.check_model(parsed(graph), full_check=True)


def test_what_was_done_is_recorded():
    before = optimize_graph(MODELS["classifier"](), [1, 3])
    graph = set_precision(before, FP16)
    assert graph.hash != before.hash and graph.parent == before.parent and graph.batches == (1, 3)
    assert graph.passes[:-1] == before.passes
    record = graph.passes[-1]
    assert record.name == "fp16" and record.fired and 0 < record.max_difference < 1e-2
    assert graph.precision.kind == "fp16"
    assert set_precision(before, FP16) == graph  # the same bytes each time
    assert set_precision(before, PrecisionOptions()) == before


@pytest.mark.parametrize(("options", "message"), [
    (PrecisionOptions(keep_fp32=("a",)), "--keep-fp32 has no effect in fp32"),
    (PrecisionOptions(keep_sensitive=2), "--keep-sensitive has no effect in fp32"),
    (PrecisionOptions(precision="int8"), "none were given"),
    (PrecisionOptions(calibrate=Path(), keep_sensitive=2), "--keep-sensitive has no effect in fp32"),
    (PrecisionOptions(calibrate=Path()), "--calibrate has no effect in fp32"),
    (PrecisionOptions(calibration="minmax"), "--calibration has no effect in fp32"),
    (PrecisionOptions(precision="fp16", calibrate=Path()), "--calibrate has no effect in fp16"),
    (PrecisionOptions(precision="fp16", calibration="entropy"), "--calibration has no effect in fp16"),
])
def test_flags_without_effect_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        set_precision(optimize_graph(MODELS["two_inputs"]()), options)


def test_a_network_that_stays_float32_is_untouched_up_to_its_ends():
    """A kept node at an end of the network reads and writes it as it is: nothing there goes through float16."""
    for model in ("two_inputs", "classifier", "attention"):
        before = optimize_graph(MODELS[model]())
        graph = set_precision(before, PrecisionOptions(precision="fp16", keep_fp32=("*",)))
        assert not computes_low(parsed(graph))
        assert [n.op_type for n in parsed(graph).graph.node] == [n.op_type for n in parsed(before).graph.node]
        assert graph.passes[-1].max_difference == 0


def test_an_output_beyond_the_range_leaves_a_kept_node_whole():
    exported = large_constant(1, 6e4)
    graph = set_precision(optimize_graph(exported), PrecisionOptions(precision="fp16", keep_fp32=("mul",)))
    onnx.checker.check_model(parsed(graph), full_check=True)
    assert computes_low(parsed(graph)) and graph.passes[-1].max_difference < 1e3
    assert np.abs(outputs(graph, 1, random_feed(exported))["y"]).max() > 65504


def test_an_unknown_node_is_named_with_its_likeliest_meaning():
    with pytest.raises(ModelError, match="did you mean 'Conv_") as caught:
        set_precision(optimize_graph(MODELS["classifier"]()), PrecisionOptions(precision="fp16", keep_fp32=("conv_0",)))
    assert "edgecls explain" in caught.value.hint
