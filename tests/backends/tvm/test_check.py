"""Unsupported nodes are named, all of them, before anyone waits for a compile."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.contract import Contract, InputContract, OutputContract
from edgecls.errors import UnsupportedError
from edgecls.targets import load_target
from edgecls.types import OptimizedGraph

TARGET = "raspberry-pi-4"


def graph_of(*nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> OptimizedGraph:
    x = helper.make_tensor_value_info("x", kind, (1, 4))
    y = helper.make_tensor_value_info("y", kind, (1, 4))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("acme", 1)]
    model = helper.make_model(helper.make_graph(list(nodes), "g", [x], [y]), opset_imports=opsets)
    contract = Contract(inputs=(InputContract(name="x", dtype="float32", layout="raw"),),
                        outputs=(OutputContract(name="y", role="logits"),))
    return OptimizedGraph(onnx={1: model.SerializeToString()}, contract=contract, parent="")


def test_every_unknown_node_has_a_row() -> None:
    graph = graph_of(helper.make_node("Det", ["x"], ["a"], name="first"),
                     helper.make_node("Relu", ["a"], ["b"], name="fine"),
                     helper.make_node("Frobnicate", ["b"], ["y"], name="second", domain="acme"))
    found = TvmBackend().check(graph, load_target(TARGET))
    assert [(u.node, u.op) for u in found] == [("first", "ai.onnx.Det"), ("second", "acme.Frobnicate")]
    assert all(u.reason for u in found)


def test_a_node_the_importer_refuses_is_named() -> None:
    """NonZero exists, but its result's shape depends on data."""
    graph = graph_of(helper.make_node("NonZero", ["x"], ["n"], name="where"),
                     helper.make_node("Cast", ["n"], ["y"], name="cast", to=TensorProto.FLOAT))
    found = TvmBackend().check(graph, load_target(TARGET))
    assert "where" in {u.node for u in found}


def test_half_precision_nodes_are_named_with_their_operators() -> None:
    graph = graph_of(helper.make_node("Cast", ["x"], ["h"], name="to_half", to=TensorProto.FLOAT16),
                     helper.make_node("Relu", ["h"], ["r"], name="act"),
                     helper.make_node("Cast", ["r"], ["y"], name="to_float", to=TensorProto.FLOAT))
    found = TvmBackend().check(graph, load_target(TARGET))
    assert [(u.node, u.op) for u in found] == [("to_half", "ai.onnx.Cast"), ("act", "ai.onnx.Relu")]
    assert all("float16" in u.reason for u in found)


def test_a_supported_network_has_no_rows() -> None:
    graph = graph_of(helper.make_node("Relu", ["x"], ["y"], name="fine"))
    assert TvmBackend().check(graph, load_target(TARGET)) == []


def test_compile_refuses_and_writes_nothing(tmp_path: Path) -> None:
    graph = graph_of(helper.make_node("Det", ["x"], ["y"], name="bad"))
    with pytest.raises(UnsupportedError, match="bad"):
        TvmBackend().compile(graph, load_target(TARGET), CompileOptions(), tmp_path / "out.ecls")
    assert list(tmp_path.iterdir()) == []
