"""Which convolutions count as dense, and what is made of their times."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.peers.floors import Rates
from benchmarks.peers.layers import judge
from benchmarks.peers.share import dense_nodes, summed, uses_weights_once
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


def layer(flops: int, weight_bytes: int, index: int = 0) -> Layer:
    return Layer(index=index, batch=1, kernel=f"k{index}", onnx_nodes=(), op="Conv", algorithm="direct", layout="",
                 precision="fp32", weight_bytes=weight_bytes, activation_bytes=0, flops=flops)


def test_rates_are_weighted_by_work() -> None:
    rates = Rates(lanes=4, flops_per_s=1e9, fed_flops_per_s=1e9, read_bytes_per_s=1e9)
    calls = [judge(layer(flops, weight_bytes=200, index=i), [1000.0], rates) for i, flops in enumerate([900, 100])]
    assert summed(calls) == {"kernels": 2, "flops": 1000, "us": 2.0, "floor_us": pytest.approx(1.1)}
    assert summed([])["kernels"] == 0


def test_one_pixel_uses_each_weight_once() -> None:
    weights = 32 * 48
    padding_and_bias = 4 * 48
    assert uses_weights_once(layer(2 * weights, 4 * weights + padding_and_bias))
    assert not uses_weights_once(layer(2 * 2 * weights, 4 * weights + padding_and_bias))
