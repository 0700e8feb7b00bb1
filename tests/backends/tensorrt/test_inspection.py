"""Reading the builder's table of layers, and EngineInspector's JSON, which only a GPU gives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecls.backends.tensorrt.answers import Built
from edgecls.backends.tensorrt.assemble import describe_all, engine_layers
from edgecls.backends.tensorrt.inspection import (
    Tensor,
    by_profile,
    count_precisions,
    layers_from_inspector,
    layers_from_log,
)
from edgecls.backends.tensorrt.network import networks
from tests.backends.tensorrt.networks import half, residual


def tensor(name, shape, dtype, words="(NHWC) Channel major format"):
    dims = ",".join(map(str, shape))
    return (f"{{ Name: {name}, Dimensions: [{dims}], Strides: [1], StrideOrder: [0], Datatype: {dtype}, "
            f"Format: {words} }}")


def line(name, kind="correlation", inputs=(), constants=(), outputs=(), nodes=()):
    lists = ", ".join(f"{title}: [ {', '.join(values)}]" if values else f"{title}: []" for title, values in
                      (("Inputs", inputs), ("Constants", constants), ("Outputs", outputs)))
    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return f"Name: {name}, LayerType: {kind}, {lists}, TacticName: tactic_1, StreamId: 0, Metadata: {metadata}"


FULL = line("conv_myl0_1", inputs=[tensor("x", (1, 64, 7, 7), "Half"), tensor("y", (1, 64, 7, 7), "Half")],
            constants=[tensor("one", (1,), "Float", "(Linear) Row major linear format"),
                       tensor("w", (64, 64, 3, 3), "Int8")],
            outputs=[tensor("z", (1, 64, 7, 7), "Half")], nodes=["conv", "add", "relu", "conv"])


def test_a_line_of_the_log():
    (layer,) = layers_from_log(f"Layers:\n{FULL}\n\nI/O Tensors:\n Name: x, IOMode: Input\n")
    assert (layer.name, layer.kind, layer.tactic) == ("conv_myl0_1", "correlation", "tactic_1")
    assert layer.nodes == ("conv", "add", "relu")
    assert layer.inputs[1] == Tensor(name="y", shape=(1, 64, 7, 7), dtype="fp16", layout="NHWC")
    assert layer.outputs[0].bytes == 64 * 49 * 2
    assert layer.constants[0].layout == "linear" and layer.precision == "int8"
    assert count_precisions([layer]) == {"int8": 1}


def test_streams_that_wait_for_one_another_are_no_layers():
    signal = "Name: __mye9807_myl0_25, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , "
    assert [layer.name for layer in layers_from_log(f"{signal}EventId: 1, Metadata: \n{FULL}")] == ["conv_myl0_1"]


def test_profiles_are_told_by_names_and_by_the_compiled_graph():
    text = "\n".join([line("a_myl0_0", inputs=[tensor("x", (1, 3), "Half")]),
                      line("__gen_myl1_0", inputs=[tensor("x [profile 1]", (8, 3), "Half")]),
                      line("__gen_myl1_1", inputs=[tensor("__t", (8, 3), "Half")]),
                      line("b [profile 2]_myl2_0", nodes=["b"])])
    names = [[layer.name for layer in group] for group in by_profile(layers_from_log(text), 3)]
    assert names == [["a_myl0_0"], ["__gen_myl1_0", "__gen_myl1_1"], ["b [profile 2]_myl2_0"]]


def test_the_inspectors_json():
    """As TensorRT 10 documents it (developer guide, engine inspector); not made by a GPU."""
    text = json.dumps({"Layers": [{
        "Name": "conv + add + relu", "LayerType": "CaskConvolution", "TacticName": "sm80_xmma",
        "Inputs": [{"Name": "x", "Dimensions": [1, 64, 7, 7], "Format/Datatype": "Channel major FP16 format"}],
        "Outputs": [{"Name": "y", "Dimensions": [1, 64, 7, 7], "Format/Datatype": "Half NHWC"}],
        "Weights": {"Type": "Half", "Count": 36864}, "Bias": {"Type": "Half", "Count": 64},
        "Metadata": "[ONNX Layer: conv]\x1e[ONNX Layer: add]\x1e[ONNX Layer: relu]"}], "Bindings": ["x", "y"]})
    (layer,) = layers_from_inspector(text)
    assert layer.nodes == ("conv", "add", "relu") and layer.precision == "fp16"
    assert layer.constants[0].bytes == 36864 * 2 and layer.outputs[0].layout == "NHWC"
    assert layer.inputs[0].dtype == "fp16"


def documented(batch, profile=0, bound=True):
    """What TensorRT 10 answers for one convolution block, in the form of its documentation (Engine Inspector)."""
    def one(name, *shape):
        return {"Name": name, "Location": "Device", "Dimensions": [batch if bound else -1, *shape],
                "Format/Datatype": "Channel major FP16 format where channel % 8 == 0" if bound else
                "N/A due to dynamic shapes"}

    mark = f" [profile {profile}]" if profile else ""
    return [
        {"Name": f"wait{mark}", "LayerType": "wait", "Inputs": [], "Outputs": [], "Metadata": ""},
        {"Name": f"second + add + relu{mark}", "LayerType": "CaskConvolution",
         "Inputs": [one("a", 64, 56, 56), one("x", 64, 56, 56)], "Outputs": [one("y", 64, 56, 56)],
         "ParameterType": "Convolution", "Kernel": [3, 3], "Groups": 1, "Weights": {"Type": "Half", "Count": 36864},
         "Bias": {"Type": "Half", "Count": 64}, "Activation": "RELU", "TacticName": "sm80_xmma_fprop", "StreamId": 0,
         "Metadata": "[ONNX Layer: second]\x1e[ONNX Layer: add]\x1e[ONNX Layer: relu]"},
        {"Name": f"signal{mark}", "LayerType": "signal", "Inputs": [], "Outputs": [], "Metadata": ""}]


@pytest.mark.parametrize("whole", [True, False])
def test_each_batch_size_has_the_rows_of_its_own_profile(whole):
    """whether the table of one profile lists the others as well, without their dimensions, is the library's affair."""
    network = networks(half(residual(), 1, 3))[0]
    tables = [documented(1), documented(3, 1)]
    if whole:
        tables = [documented(1) + documented(-1, 1, bound=False), documented(-1, bound=False) + documented(3, 1)]
    built = Built(version="10.7.0", seconds=1, network_layers=9, network_types={}, layers="", memory={}, plan_bytes=0,
                  inspector=[json.dumps({"Layers": table, "Bindings": ["x", "y"]}) for table in tables])
    assert network.batches == (1, 3)
    for batch, rows in engine_layers(network, built).items():
        (row,) = rows
        assert row.nodes == ("second", "add", "relu") and row.precision == "fp16"
        assert [t.shape for t in (*row.inputs, *row.outputs)] == [(batch, 64, 56, 56)] * 3
    rows = describe_all([network], [built], (1, 3))
    assert [(r.batch, r.op, r.activation_bytes) for r in rows] == [
        (batch, "Conv+Add+Relu", 3 * batch * 64 * 56 * 56 * 2) for batch in (1, 3)]


def test_the_worker_asks_for_each_profile_with_its_shapes():
    """The engine is a FAKE: it tells what its inspector was bound to."""
    from types import SimpleNamespace

    from edgecls.backends.tensorrt import worker

    class Context:
        profile, shape = 0, None

        def set_optimization_profile_async(self, index, stream):
            self.profile = index
            return True

        def set_input_shape(self, name, shape):
            self.shape = (name, shape)
            return True

    def inspector():
        made = SimpleNamespace(execution_context=None)
        made.get_engine_information = lambda form: f"{made.execution_context.profile} {made.execution_context.shape}"
        return made

    engine = SimpleNamespace(create_execution_context=Context, create_engine_inspector=inspector)
    trt = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON=1), Runtime=lambda logger: SimpleNamespace(
        deserialize_cuda_engine=lambda plan: engine))
    request = {"compute_capability": None, "profiles": [{"x": [1, 3]}, {"x": [8, 3]}]}
    assert worker.inspect(trt, None, b"", request) == ["0 ('x', (1, 3))", "1 ('x', (8, 3))"]
    assert worker.inspect(trt, None, b"", {**request, "profiles": []}) == ["0 None"]
    engine.create_execution_context = lambda: None  # no memory: the builder's log must do
    assert worker.inspect(trt, None, b"", request) == []


@pytest.mark.parametrize("unit", [
    "{ Name: ", "{ Name: x, Dimensions: [1]", "{ Name: x, Dimensions: [1] Datatype: Half, Format: ", "[ONNX Layer: ",
    ", Dimensions: [", "Datatype: ", ", Format: ", "Name: ", "LayerType: ", ", Aa", "[profile 1", "_myl1"])
def test_the_reader_takes_time_in_proportion(unit):
    """A search that backtracks would not end: a megabyte of what almost is a tensor."""
    count = 1_000_000 // len(unit)
    for start in ("Name: a, LayerType: b, Inputs: [ ", "Name: a, LayerType: b, Inputs: [], Constants: [], Outputs: [], "
                  "TacticName: c, Metadata: ", "Name: "):
        by_profile(layers_from_log(start + unit * count), 2)
    layers_from_inspector(json.dumps({"Layers": [{"Name": unit * count, "Metadata": unit * count}]}))


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["Layers", "Name", "Inputs", "Outputs", "Weights", "Count", "Dimensions"]), inner)).map(json.dumps))
def test_nothing_breaks_the_readers(text):
    layers_from_inspector(text)
    by_profile(layers_from_log(f"Name: {text}"), 2)
    by_profile(layers_from_log(FULL[:len(text) * 7]), 2)
