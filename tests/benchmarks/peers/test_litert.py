"""GELU is put into the order that LiteRT's converter knows, and stays what it is."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from benchmarks.peers.engines.litert import _halve_first


def network(second: str) -> onnx.ModelProto:
    """x * (0.5 * (1 + erf(x / sqrt 2))) with `second` in the place of erf."""
    graph = helper.make_graph(
        [helper.make_node("Div", ["x", "root"], ["d"]), helper.make_node(second, ["d"], ["e"]),
         helper.make_node("Add", ["e", "one"], ["p"]), helper.make_node("Mul", ["half", "p"], ["h"], name="halved"),
         helper.make_node("Mul", ["x", "h"], ["y"], name="product")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 5])],
        [helper.make_tensor(name, TensorProto.FLOAT, [], [value])
         for name, value in (("root", 2**0.5), ("one", 1.0), ("half", 0.5))])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def answer(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.random.default_rng(0).standard_normal((3, 5), np.float32)})[0]


def test_x_is_halved_before_the_product():
    model = network("Erf")
    before = answer(model)
    _halve_first(model)
    inputs = {node.name: list(node.input) for node in model.graph.node if node.name}
    assert inputs == {"halved": ["half", "x"], "product": ["h", "p"]}
    np.testing.assert_allclose(answer(model), before, rtol=1e-6)


@pytest.mark.parametrize("second", ["Tanh", "Relu"])
def test_other_products_stay_as_they_are(second):
    model = network(second)
    before = model.SerializeToString()
    _halve_first(model)
    assert model.SerializeToString() == before
