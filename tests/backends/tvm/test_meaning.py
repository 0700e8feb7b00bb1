"""The plan means what the network means, or the compile is refused; each case was once a wrong answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.bundle import open_bundle
from edgecls.devices import open_device
from edgecls.frontend import load_onnx
from edgecls.oracle import import_onnxruntime
from edgecls.passes import optimize_graph
from edgecls.runtime.serve import open_serve_session
from edgecls.targets import native_target
from edgecls.types import Array, OptimizedGraph

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def graph_of(folder: Path, nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, tuple[int, ...]]],
             outputs: dict[str, tuple[int, tuple[int, ...]]], **constants: Array) -> OptimizedGraph:
    def values(given: dict[str, tuple[int, tuple[int, ...]]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in given.items()]

    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs),
                              [numpy_helper.from_array(a, n) for n, a in constants.items()])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return optimize_graph(load_onnx(path))


def reasons(graph: OptimizedGraph) -> str:
    return " ".join(f"{u.node} {u.op} {u.reason}" for u in TvmBackend().check(graph, native_target()))


def answer(graph: OptimizedGraph, folder: Path, feed: dict[str, Array]) -> tuple[dict[str, Array], float | None]:
    """Outputs, and the self-test's largest relative difference."""
    bundle = TvmBackend().compile(graph, native_target(), CompileOptions(), folder / "model.ecls").path
    with (open_device("local", native_target()) as device,
          open_serve_session(open_bundle(bundle), device) as session):
        return session.run(feed), session.selftest()


@pytest.mark.parametrize(("op", "kind"), [("ArgMax", INT64), ("Greater", BOOL)])
def test_outputs_that_are_no_floats_pass_their_self_test(op: str, kind: int, tmp_path: Path) -> None:
    inputs = ["x", "half"] if op == "Greater" else ["x"]
    keep = {"axis": 1, "keepdims": 0} if op == "ArgMax" else {}
    shape = (3,) if op == "ArgMax" else (3, 5)
    graph = graph_of(tmp_path, [helper.make_node("Relu", ["x"], ["r"]),
                                helper.make_node(op, ["r", *inputs[1:]], ["y"], **keep),
                                helper.make_node("Gemm", ["x", "w"], ["logits"])],
                     {"x": (FLOAT, (3, 5))}, {"logits": (FLOAT, (3, 5)), "y": (kind, shape)},
                     half=np.float32(0.5), w=np.eye(5, dtype=np.float32))
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    outputs, difference = answer(graph, tmp_path, {"x": x})
    r = np.maximum(x, 0)
    np.testing.assert_array_equal(outputs["y"], r.argmax(1) if op == "ArgMax" else r > 0.5)
    assert difference is not None and difference < 1e-4


def test_a_shape_that_onnx_infers_wrongly_is_the_computed_one(tmp_path: Path) -> None:
    """Pooling with ceil_mode and padding: ONNX's inference says 8 columns, ONNX Runtime and TVM compute 7."""
    pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[1, 4], strides=[1, 3], pads=[0, 2, 0, 3],
                            ceil_mode=1)
    graph = graph_of(tmp_path, [pool, helper.make_node("GlobalAveragePool", ["x"], ["p"]),
                                helper.make_node("Flatten", ["p"], ["logits"])],
                     {"x": (FLOAT, (1, 2, 5, 18))}, {"logits": (FLOAT, (1, 2)), "y": (FLOAT, (1, 2, 5, 8))})
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 18)).astype(np.float32)
    session = import_onnxruntime().InferenceSession(graph.onnx[1])
    expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x}), strict=True))
    outputs, difference = answer(graph, tmp_path, {"x": x})
    assert outputs["y"].shape == expected["y"].shape
    np.testing.assert_array_equal(outputs["y"], expected["y"])
    assert difference is not None and difference < 1e-4


def test_indices_that_come_from_data_are_refused_where_nothing_checks_them(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, [helper.make_node("GatherElements", ["x", "i"], ["y"], axis=1, name="pick")],
                     {"x": (FLOAT, (1, 20)), "i": (INT64, (1, 4))}, {"y": (FLOAT, (1, 4))})
    assert "pick" in reasons(graph) and "indices depend on data" in reasons(graph)


def test_powers_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, [helper.make_node("Pow", ["x", "n"], ["y"], name="power")],
                     {"x": (INT64, (1, 4)), "n": (INT64, (1, 4))}, {"y": (INT64, (1, 4))})
    assert "power" in reasons(graph) and "cast to float32" in reasons(graph)


def test_a_gather_by_data_stays_inside_its_tensor(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, [helper.make_node("Gather", ["x", "i"], ["y"], axis=1)],
                     {"x": (FLOAT, (1, 20)), "i": (INT64, (4,))}, {"y": (FLOAT, (1, 4))})
    x = np.arange(20, dtype=np.float32)[None]
    outputs, _ = answer(graph, tmp_path, {"x": x, "i": np.array([0, 19, 1 << 40, -(1 << 40)], np.int64)})
    assert list(outputs["y"][0, :2]) == [0, 19]
    assert set(outputs["y"][0]) <= set(x[0])


@pytest.mark.parametrize(("node", "why"), [
    (helper.make_node("OneHot", ["i", "depth", "ends"], ["y"], name="hot"), "float64"),
    (helper.make_node("Identity", ["i"], ["y"], name="same"), "computes nothing"),
])
def test_what_would_answer_wrongly_or_never_open_is_refused(node: onnx.NodeProto, why: str, tmp_path: Path) -> None:
    output = (FLOAT, (1, 4, 5)) if node.op_type == "OneHot" else (INT64, (1, 4))
    constants = {"depth": np.array(5, np.int64), "ends": np.array([0, 1], np.float32)}
    graph = graph_of(tmp_path, [node], {"i": (INT64, (1, 4))}, {"y": output},
                     **(constants if node.op_type == "OneHot" else {}))
    assert why in reasons(graph)


def test_a_chain_that_reads_each_value_twice_stays_linear(tmp_path: Path) -> None:
    """x * sigmoid(x), thirty times: inlined into one expression it would have 2^30 terms."""
    nodes, value = [], "x"
    for i in range(30):
        nodes += [helper.make_node("Sigmoid", [value], [f"s{i}"]), helper.make_node("Mul", [value, f"s{i}"], [f"m{i}"])]
        value = f"m{i}"
    graph = graph_of(tmp_path, nodes, {"x": (FLOAT, (1, 64))}, {value: (FLOAT, (1, 64))})
    x = np.full((1, 64), 2, np.float32)
    expected = x.copy()
    for _ in range(30):
        expected = expected / (1 + np.exp(-expected))
    outputs, _ = answer(graph, tmp_path, {"x": x})
    np.testing.assert_allclose(outputs[value], expected, rtol=1e-4)


def test_every_node_is_listed_where_it_is_computed(tmp_path: Path) -> None:
    """A normalisation (several Relax operators), a last node, and two branches that look alike."""
    w = np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)
    graph = graph_of(tmp_path, [
        helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["n"], name="norm"),
        helper.make_node("MatMul", ["n", "a"], ["p"], name="left"),
        helper.make_node("MatMul", ["n", "b"], ["q"], name="right"),
        helper.make_node("Mul", ["p", "q"], ["y"], name="join"),
    ], {"x": (FLOAT, (4, 6))}, {"y": (FLOAT, (4, 6))}, scale=np.ones(6, np.float32), bias=np.zeros(6, np.float32),
        a=w, b=2 * w)
    artifact = TvmBackend().compile(graph, native_target(), CompileOptions(), tmp_path / "model.ecls")
    listed = [name for row in artifact.manifest.layers for name in row.onnx_nodes]
    assert sorted(listed) == ["join", "left", "norm", "right"]
    (norm,) = (row for row in artifact.manifest.layers if "norm" in row.onnx_nodes)
    assert "layer_norm" in norm.kernel
