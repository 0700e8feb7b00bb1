"""Each rewrite where it applies, and the look-alikes where it must not. ONNX Runtime has the last word on both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgecls.passes import optimize_graph
from edgecls.types import ExportedGraph
from tests.models import MODELS, Builder, assert_close, random_feed, run_onnxruntime


def optimised(b: Builder) -> onnx.GraphProto:
    """The graph after all passes; its outputs are those of the graph before."""
    graph = b.finish()
    data = optimize_graph(graph).onnx[1]
    feed = random_feed(graph)
    rewritten = ExportedGraph(onnx=data, contract=graph.contract, source="")
    assert_close(run_onnxruntime(rewritten, feed), run_onnxruntime(graph, feed), 1e-5)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    return onnx.load_from_string(data).graph


def operators(b: Builder) -> list[str]:
    return [node.op_type for node in optimised(b).node]


def one(step: Callable[[Builder, str], str], opset: int = 18, shape: tuple[int, ...] = (1, 4, 6)) -> list[str]:
    """The operators left of Neg -> step -> Exp."""
    b = Builder(opset=opset)
    b.output(b.node("Exp", step(b, b.node("Neg", b.input("x", shape)))), "y")
    return operators(b)


@pytest.mark.parametrize("step", [
    lambda b, v: b.node("Identity", v),
    lambda b, v: b.node("Dropout", v, b.constant(0.5, np.float32)),
    lambda b, v: b.node("Dropout", v, b.constant(0.5, np.float32), b.constant(False)),
    lambda b, v: b.node("Cast", v, to=TensorProto.FLOAT),
    lambda b, v: b.node("CastLike", v, b.constant(1, np.float32)),
    lambda b, v: b.node("Concat", v, axis=1),
    lambda b, v: b.node("Split", v, axis=1, num_outputs=1),
    lambda b, v: b.node("Max", v),
    lambda b, v: b.node("Tile", v, b.constant([1, 1, 1], np.int64)),
    lambda b, v: b.node("Pad", v, b.constant([0] * 6, np.int64)),
    lambda b, v: b.node("Add", v, b.constant([0.0], np.float32)),
    lambda b, v: b.node("Mul", b.constant(np.ones((4, 6)), np.float32), v),
    lambda b, v: b.node("Div", v, b.constant(1.0, np.float32)),
    lambda b, v: b.node("Sub", v, b.constant(np.zeros((1, 1, 6)), np.float32)),
    lambda b, v: b.node("Expand", v, b.constant([1, 4, 1], np.int64)),
    lambda b, v: b.node("Reshape", v, b.constant([0, -1, 6], np.int64)),
    lambda b, v: b.node("Squeeze", b.node("Unsqueeze", v, b.constant([0], np.int64)), b.constant([1], np.int64)),
    lambda b, v: b.node("Transpose", v, perm=[0, 1, 2]),
    lambda b, v: b.node("Transpose", b.node("Transpose", v)),
    lambda b, v: b.node("Transpose", b.node("Transpose", v, perm=[1, 2, 0]), perm=[2, 0, 1]),
])
def test_what_does_nothing_goes(step: Callable[[Builder, str], str]) -> None:
    assert one(step) == ["Neg", "Exp"]


@pytest.mark.parametrize("step", [
    lambda b, v: b.node("Add", v, b.constant(np.zeros((3, 1, 1)), np.float32)),  # broadcasts
    lambda b, v: b.node("Mul", v, b.constant(1 + 2 ** -23, np.float32)),
    lambda b, v: b.node("Sub", b.constant(0.0, np.float32), v),
    lambda b, v: b.node("Div", b.constant(1.0, np.float32), v),
    lambda b, v: b.node("Pad", v, b.constant([0, 1, 0, 0, -1, 0], np.int64)),  # shifts
    lambda b, v: b.node("Slice", v, *(b.constant([n], np.int64) for n in (-1, -9, 1, -1))),  # reverses
    lambda b, v: b.node("Transpose", v, perm=[1, 0, 2]),
    lambda b, v: b.node("Reshape", v, b.constant([1, 6, 4], np.int64)),
    lambda b, v: b.node("Cast", b.node("Cast", v, to=TensorProto.INT32), to=TensorProto.FLOAT),
])
def test_what_does_something_stays(step: Callable[[Builder, str], str]) -> None:
    assert len(one(step)) > 2


def test_the_paddings_of_old_opsets_are_attributes() -> None:
    assert one(lambda b, v: b.node("Pad", v, pads=[0] * 6), opset=10) == ["Neg", "Exp"]
    assert one(lambda b, v: b.node("Pad", v, pads=[0, 0, 1, 0, 0, 0]), opset=10) == ["Neg", "Pad", "Exp"]


def test_twice_the_same_is_once_where_once_is_enough() -> None:
    b = Builder()
    x = b.input("x", (1, 5))
    b.output(b.node("Neg", b.node("Neg", b.node("Relu", b.node("Identity", b.node("Relu", x))))), "y")
    assert operators(b) == ["Relu", "Neg", "Neg"]


def test_names_of_inputs_and_outputs_survive() -> None:
    b = Builder()
    x = b.input("x", (1, 5))
    v = b.node("Relu", x)
    b.output(v, "first")
    b.output(v, "second")
    b.output(x, "same")
    b.output(b.constant([1.0], np.float32), "fixed")
    graph = optimised(b)
    assert [o.name for o in graph.output] == ["first", "second", "same", "fixed"]
    assert sorted(node.op_type for node in graph.node) == ["Identity", "Identity", "Relu"]


def test_what_an_inner_graph_reads_keeps_its_name() -> None:
    b = Builder()
    x = b.input("x", (1, 5))
    v = b.node("Identity", b.node("Relu", x))
    branch = [helper.make_graph([helper.make_node(op, [v], ["r" + op], name=op)], op, [],
                                [helper.make_tensor_value_info("r" + op, TensorProto.FLOAT, (1, 5))])
              for op in ("Neg", "Exp")]
    flag = b.node("Greater", b.node("ReduceSum", x, keepdims=0), b.constant(0, np.float32))
    b.output(b.node("If", flag, then_branch=branch[0], else_branch=branch[1]), "y")
    assert operators(b)[-1:] == ["If"]


def normalised(bias: str | None = None, variance: float = 1.0, parts: int = 1) -> onnx.GraphProto:
    b = Builder()
    x = b.input("x", (1, 3, 8, 8))
    weight = b.weight(4, 3, 3, 3)
    parameters = [b.constant(b.random.uniform(0.5, 1.5, 4), np.float32) for _ in range(3)]
    parameters.append(b.constant(np.full(4, variance), np.float32))
    biases = {None: [], "": [""], "constant": [b.constant([1, 2, 3, 4], np.float32)]}[bias]
    for index in range(parts):
        v = b.node("Conv", x, weight, *biases, name=f"features.{index}")
        v = b.node("BatchNormalization", v, *parameters, epsilon=1e-2)
        b.output(v if variance > 0 else b.node("IsNaN", v), f"y{index}")
    return optimised(b)


@pytest.mark.parametrize("bias", [None, "", "constant"])
def test_batch_norm_becomes_the_convolution_which_keeps_its_name(bias: str | None) -> None:
    assert [node.name for node in normalised(bias).node] == ["features.0"]


def test_two_convolutions_with_one_weight_part() -> None:
    assert [node.op_type for node in normalised(parts=2).node] == ["Conv", "Conv"]


def test_batch_norm_without_a_finite_weight_stays() -> None:
    assert [node.op_type for node in normalised(variance=-1.0).node] == ["Conv", "BatchNormalization", "IsNaN"]


def test_transposes_move_into_gemm() -> None:
    b = Builder()
    x, y = b.input("x", (1, 3)), b.input("z", (1, 5))
    b.output(b.node("Gemm", b.node("Transpose", x), b.node("Transpose", y, perm=[1, 0]), transB=1, alpha=0.5), "y")
    node, = optimised(b).node
    assert {a.name: a.i for a in node.attribute if a.name != "alpha"} == {"transA": 1, "transB": 0}


def test_a_transpose_that_others_read_stays_for_them() -> None:
    b = Builder()
    first = b.node("Transpose", b.input("x", (1, 3, 4, 5)), perm=[0, 2, 3, 1])
    b.output(b.node("Exp", b.node("Transpose", first, perm=[0, 3, 1, 2])), "y")
    b.output(b.node("Neg", first), "other")
    assert sorted(operators(b)) == ["Exp", "Neg", "Transpose"]


def test_a_chain_of_reshapes_is_one() -> None:
    b = Builder()
    v = b.node("Flatten", b.input("x", (1, 3, 4, 5)))
    v = b.node("Unsqueeze", b.node("Reshape", v, b.constant([-1, 5], np.int64)), b.constant([0], np.int64))
    b.output(b.node("Neg", v), "y")
    assert operators(b) == ["Reshape", "Neg"]


def test_passes_are_idempotent() -> None:
    graph = MODELS["attention"]()
    once = optimize_graph(graph)
    again = optimize_graph(ExportedGraph(onnx=once.onnx[1], contract=graph.contract, source=""))
    assert not [record.name for record in again.passes if record.fired]


def test_equal_input_gives_equal_bytes_in_every_process_without_torch() -> None:
    program = ("import hashlib, sys; from edgecls.passes import optimize_graph; from tests.models import MODELS\n"
               "print([hashlib.sha256(optimize_graph(MODELS[m]()).onnx[1]).hexdigest() for m in sorted(MODELS)])\n"
               "assert 'torch' not in sys.modules")
    outcomes = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        outcomes.add(subprocess.run([sys.executable, "-c", program], env=environment, check=True, text=True,
                                    stdout=subprocess.PIPE).stdout)
    assert len(outcomes) == 1
