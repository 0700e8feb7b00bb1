"""Which convolutions count as dense, and what is made of their times."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from benchmarks.peers.floors import Rates
from benchmarks.peers.layers import judge
from benchmarks.peers.share import dense_nodes, summed
from edgecls.types import Layer


def convolution(name: str, *shape: int, group: int = 1) -> tuple[onnx.NodeProto, onnx.TensorProto]:
    """shape: OIHW of the weights."""
    size = 1
    for extent in shape:
        size *= extent
    weights = helper.make_tensor(f"{name}.w", TensorProto.FLOAT, shape, [0.0] * size)
    return helper.make_node("Conv", ["x", f"{name}.w"], [f"{name}.y"], name=name, group=group), weights


def test_only_dense_convolutions_with_enough_channels_count() -> None:
    made = [convolution("point", 64, 32, 1, 1), convolution("three", 32, 32, 3, 3), convolution("narrow", 64, 31, 1, 1),
            convolution("first", 64, 3, 3, 3), convolution("depthwise", 32, 1, 3, 3, group=32),
            convolution("grouped", 64, 32, 3, 3, group=2), convolution("large", 32, 32, 5, 5)]
    other = helper.make_node("Relu", ["point.y"], ["y"], name="relu")
    graph = helper.make_graph([*(node for node, _ in made), other], "g", [], [], [weights for _, weights in made])
    assert dense_nodes(helper.make_model(graph)) == {"point", "three"}


def test_rates_are_weighted_by_work() -> None:
    rates = Rates(lanes=4, flops_per_s=1e9, read_bytes_per_s=1e9)
    calls = [judge(Layer(index=i, batch=1, kernel=f"k{i}", onnx_nodes=(), op="Conv", algorithm="direct", layout="",
                         precision="fp32", weight_bytes=0, activation_bytes=0, flops=flops), [ns], rates)
             for i, (flops, ns) in enumerate([(900, 1000.0), (100, 1000.0)])]
    assert summed(calls) == {"kernels": 2, "flops": 1000, "us": 2.0}
    assert summed([])["kernels"] == 0
