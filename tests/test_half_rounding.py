"""A float16 network rounds and overflows where float16 does, whatever ONNX Runtime leaves out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecls.half_rounding import spell_out_rounding
from edgecls.passes import optimize_graph
from edgecls.passes.evaluate import run
from edgecls.passes.network import Network
from tests.models import MODELS


def half_network(*steps: tuple[str, float]) -> Network:
    """x float32[4] -> float16 -> each (operator, constant) in turn -> y float32[4]."""
    nodes = [helper.make_node("Cast", ["x"], ["v0"], "narrow", to=TensorProto.FLOAT16)]
    for i, (op, _) in enumerate(steps):
        nodes.append(helper.make_node(op, [f"v{i}", f"c{i}"], [f"v{i + 1}"], f"{op}_{i}"))
    nodes.append(helper.make_node("Cast", [f"v{len(steps)}"], ["y"], "widen", to=TensorProto.FLOAT))
    constants = [numpy_helper.from_array(np.array(c, np.float16), f"c{i}") for i, (_, c) in enumerate(steps)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph(nodes, "half", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return Network.parse(model.SerializeToString())


STEPS = st.lists(st.tuples(st.sampled_from(["Add", "Sub", "Mul", "Div"]), st.floats(0.0999755859375, 1000, width=16)),
                 min_size=1, max_size=5)


@given(steps=STEPS, x=st.lists(st.floats(-1000, 1000, width=32), min_size=4, max_size=4))
def test_it_is_numpys_float16(steps, x):
    wanted = np.array(x, np.float32).astype(np.float16)
    with np.errstate(all="ignore"):
        for op, constant in steps:
            c = np.float16(constant)
            wanted = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[op](wanted, c)
    got = run(half_network(*steps), {"x": np.array(x, np.float32)})["y"]
    assert np.array_equal(got, wanted.astype(np.float32), equal_nan=True)


def test_what_leaves_the_range_is_infinite():
    got = run(half_network(("Mul", 60000), ("Div", 60000)), {"x": np.array([1, 2, -3, 0], np.float32)})["y"]
    assert got.tolist() == [1, np.inf, -np.inf, 0]


@pytest.mark.parametrize("model", ["classifier", "attention"])
def test_a_float32_network_is_left_alone(model):
    proto = onnx.load_from_string(optimize_graph(MODELS[model]()).onnx[1])
    assert spell_out_rounding(proto) is proto


def test_the_network_given_does_not_change():
    network = half_network(("Add", 1.5))
    before = network.model.SerializeToString()
    spell_out_rounding(network.model)
    assert network.model.SerializeToString() == before
