"""optimize_graph: batch binding, folding, names, and the proof after each pass."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from edgecls.errors import EdgeclsError, InternalError, ModelError
from edgecls.passes import Pass, optimize_graph
from edgecls.passes.network import LARGE, Network
from edgecls.types import ExportedGraph, OptimizedGraph
from tests.models import (
    MODELS,
    Builder,
    assert_close,
    batch_norm,
    convolution,
    random_feed,
    run_onnxruntime,
    unknown_operator,
)


def model_of(graph: OptimizedGraph, batch: int = 1) -> onnx.ModelProto:
    return onnx.load_from_string(graph.onnx[batch])


def operators(graph: OptimizedGraph, batch: int = 1) -> list[str]:
    return [node.op_type for node in model_of(graph, batch).graph.node]


def fired(graph: OptimizedGraph) -> set[str]:
    return {record.name for record in graph.passes if record.fired}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("model", MODELS)
def test_the_optimised_graph_computes_the_same(model: str, batch: int) -> None:
    graph = MODELS[model]()
    optimised = optimize_graph(graph, [batch])
    feed = random_feed(graph, batch)
    rewritten = ExportedGraph(onnx=optimised.onnx[batch], contract=graph.contract, source="")
    assert_close(run_onnxruntime(rewritten, feed), run_onnxruntime(graph, feed), 1e-5)
    onnx.checker.check_model(model_of(optimised, batch), full_check=True)


@pytest.mark.parametrize("model", MODELS)
def test_every_shape_is_a_number_and_every_node_has_a_name(model: str) -> None:
    optimised = model_of(optimize_graph(MODELS[model](), [2]), 2)
    graph = onnx.shape_inference.infer_shapes(optimised).graph
    constants = {tensor.name for tensor in graph.initializer}
    shapes = {v.name: v.type.tensor_type.shape.dim for v in (*graph.value_info, *graph.output)}
    for node in graph.node:
        assert all(d.HasField("dim_value") for name in node.output for d in shapes[name])
        assert node.op_type != "Reshape" or node.input[1] in constants
    names = [node.name for node in graph.node]
    assert all(names) and len(set(names)) == len(names)


def test_equal_input_gives_equal_bytes() -> None:
    graph = MODELS["classifier"]()
    assert optimize_graph(graph, [1, 2]) == optimize_graph(graph, [2, 1, 1])


def test_batch_sizes_share_their_node_names() -> None:
    optimised = optimize_graph(MODELS["classifier"](), [1, 4])
    names = [[node.name for node in model_of(optimised, batch).graph.node] for batch in (1, 4)]
    assert names[0] == names[1]


def test_exporters_shape_arithmetic_is_folded_away() -> None:
    assert {"Shape", "Gather", "Concat"}.isdisjoint(operators(optimize_graph(MODELS["classifier"]())))


def test_batch_norm_is_folded_only_where_nothing_else_reads_the_convolution() -> None:
    b = Builder()
    x = b.input("x", ("batch", 3, 8, 8))
    b.output(batch_norm(convolution(x, b, 3, 70, 9, pads=[4] * 4), b, 70), "folded")  # weights above LARGE
    shared = convolution(x, b, 3, 4)
    b.output(b.node("Add", shared, batch_norm(shared, b, 4)), "shared")
    optimised = optimize_graph(b.finish())
    assert "fold_batch_norm" in fired(optimised)
    assert operators(optimised).count("BatchNormalization") == 1
    assert 0 < max(record.max_difference for record in optimised.passes) < 1e-4


def test_identities_dead_ends_and_idle_transposes_go() -> None:
    b = Builder()
    x = b.input("x", ("batch", 3, 4, 5))
    b.node("Sigmoid", x)  # read by nobody
    y = b.node("Transpose", b.node("Identity", b.node("Transpose", x, perm=[0, 2, 3, 1])), perm=[0, 3, 1, 2])
    b.output(b.node("Relu", b.node("Mul", b.node("Dropout", y), b.constant(1.0, np.float32))), "y")
    assert operators(optimize_graph(b.finish())) == ["Relu"]


def test_large_constants_are_folded_but_do_not_explode() -> None:
    b = Builder()
    x = b.input("x", ("batch", 300))
    b.output(b.node("MatMul", x, b.node("Transpose", b.weight(200, 300), perm=[1, 0])), "folded")
    huge = b.node("Expand", b.weight(1, 1, 1), b.constant([40, 1000, 300], np.int64))
    b.output(b.node("ReduceSum", b.node("Mul", huge, x), keepdims=0), "huge")
    optimised = optimize_graph(b.finish())
    assert "Transpose" not in operators(optimised) and "Expand" in operators(optimised)
    assert len(optimised.onnx[1]) < 1 << 20


def test_nameless_and_repeated_names_become_unique() -> None:
    b = Builder()
    x = b.input("x", ("batch", 3))
    b.output(b.node("Relu", b.node("Neg", b.node("Abs", x, name=""), name="twin"), name="twin"), "y")
    assert [n.name for n in model_of(optimize_graph(b.finish())).graph.node] == ["abs_0", "twin", "relu_2"]


def test_functions_are_inlined() -> None:
    b = Builder()
    b.output(b.node("Twice", b.input("x", ("batch", 3)), domain="mine"), "y")
    graph = b.finish()
    model = onnx.load_from_string(graph.onnx)
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 18)]))
    model.opset_import.append(helper.make_opsetid("mine", 1)) if len(model.opset_import) < 2 else None
    graph = ExportedGraph(onnx=model.SerializeToString(), contract=graph.contract, source="")
    assert operators(optimize_graph(graph)) == ["Add"]


def test_unknown_operators_are_left_for_check_to_name() -> None:
    optimised = optimize_graph(unknown_operator())
    assert "Frobnicate" in operators(optimised)
    assert [record.name for record in optimised.passes] == ["bind_batch"]


def test_a_fixed_batch_is_kept_and_another_refused() -> None:
    b = Builder()
    b.output(b.node("Relu", b.input("x", (4, 3))), "y")
    graph = b.finish()
    assert optimize_graph(graph).batches == (4,)
    with pytest.raises(ModelError, match="exported for batch 4") as caught:
        optimize_graph(graph, [4, 8])
    assert "--batch 4" in caught.value.hint


@pytest.mark.parametrize("batches", [[], [0], [-1, 1]])
def test_impossible_batch_sizes_are_refused(batches: list[int]) -> None:
    with pytest.raises(ModelError):
        optimize_graph(MODELS["two_inputs"](), batches)


def test_a_batch_size_frozen_inside_is_refused() -> None:
    b = Builder()
    x = b.node("Reshape", b.input("x", ("batch", 6)), b.constant([1, 2, 3], np.int64))
    b.output(x, "y")
    assert optimize_graph(b.finish(), [1]).batches == (1,)
    with pytest.raises(ModelError, match="batch 2"):
        optimize_graph(b.finish(), [1, 2])


@pytest.mark.parametrize("node", ["RandomNormalLike", "NonZero"])
def test_networks_that_cannot_be_compiled_faithfully_are_refused(node: str) -> None:
    b = Builder()
    b.output(b.node(node, b.input("x", ("batch", 3)), name="culprit"), "y")
    with pytest.raises(ModelError, match="culprit"):
        optimize_graph(b.finish())


def test_other_dynamic_dimensions_are_refused() -> None:
    b = Builder()
    b.output(b.node("Relu", b.input("x", ("batch", 3, "height", 8))), "y")
    with pytest.raises(ModelError, match="'x'"):
        optimize_graph(b.finish())


def test_an_input_of_an_unknown_element_type_is_refused() -> None:
    b = Builder()
    b.output(b.node("Identity", b.input("x", (2, 3))), "y")
    graph = b.finish()
    model = onnx.load_from_string(graph.onnx)
    model.graph.input[0].type.tensor_type.elem_type = 77
    model.graph.output[0].type.tensor_type.elem_type = 77
    with pytest.raises(ModelError):
        optimize_graph(ExportedGraph(onnx=model.SerializeToString(), contract=graph.contract, source=""))


@pytest.mark.parametrize("damage", [
    lambda network: setattr(network.graph.node[0], "op_type", "Neg"),
    lambda network: network.graph.node[0].output.__setitem__(0, "z"),
    lambda network: network.graph.output[0].__setattr__("name", "v0_0"),
])
def test_a_pass_that_breaks_the_network_is_named(damage: object) -> None:
    b = Builder()
    b.output(b.node("Relu", b.input("x", ("batch", 3))), "y")
    with pytest.raises(InternalError, match="the pass vandalism"):
        optimize_graph(b.finish(), passes=[Pass("vandalism", damage)])  # type: ignore[arg-type]


def test_no_passes_only_bind() -> None:
    graph = MODELS["classifier"]()
    optimised = optimize_graph(graph, [2], passes=())
    assert [record.name for record in optimised.passes] == ["bind_batch"]
    assert len(operators(optimised, 2)) == len(onnx.load_from_string(graph.onnx).graph.node)


def test_weights_leave_the_model_and_come_back() -> None:
    graph = MODELS["classifier"]()
    model = onnx.load_from_string(graph.onnx)
    weight = np.arange(LARGE, dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "large"))
    network = Network.parse(model.SerializeToString())
    assert set(network.weights) == {"large"}
    assert [v.name for v in network.inputs] == ["x"]
    assert len(network.model.SerializeToString()) < weight.nbytes
    back = {t.name: t for t in onnx.load_from_string(network.serialize()).graph.initializer}
    assert back == {t.name: t for t in model.graph.initializer}


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_models_are_refused_or_run(data: st.DataObject) -> None:
    good = MODELS["two_inputs"]()
    text = bytearray(good.onnx)
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        optimize_graph(ExportedGraph(onnx=bytes(text), contract=good.contract, source=""))
    except EdgeclsError as error:
        assert error.exit_code == 2 and error.hint
