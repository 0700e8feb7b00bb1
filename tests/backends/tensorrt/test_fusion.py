"""Fusions that are known to happen are seen: asserted on real builds, in the common table of layers."""

from __future__ import annotations

import pytest

from edgecls.backends.tensorrt.assemble import describe_all
from edgecls.backends.tensorrt.build import build
from edgecls.backends.tensorrt.network import networks
from tests.backends.tensorrt.conftest import needs_rtx
from tests.backends.tensorrt.networks import attention, half, inverted_residual, residual

pytestmark = needs_rtx


def rows_of(graph, capability="8.6"):
    made = networks(graph)
    builds = [build(network, "tensorrt_rtx", capability=capability)[0] for network in made]
    return describe_all(made, builds, graph.batches), builds


def row_with(rows, node):
    """The row that computes the node: the one its multiplications are counted in."""
    return max((row for row in rows if node in row.onnx_nodes), key=lambda row: row.flops)


@pytest.mark.parametrize("capability", ["8.6", "8.9", "12.0"])
def test_resnets_second_convolution_takes_the_addition_and_the_relu_with_it(capability):
    rows, _ = rows_of(half(residual()), capability)
    row = row_with(rows, "second")
    assert row.onnx_nodes == ("second", "add", "relu") and row.op == "Conv+Add+Relu"
    assert row.precision == "fp16" and row.reason.startswith("fused: 3 nodes")
    assert row.flops == 2 * 64 * 64 * 9 * 56 * 56
    assert row.weight_bytes >= 64 * 64 * 9 * 2


def test_mobilenets_block_is_three_layers():
    rows, _ = rows_of(half(inverted_residual()))
    fused = [row_with(rows, node).onnx_nodes for node in ("expand", "depthwise", "project")]
    assert fused == [("expand", "expand_relu6"), ("depthwise", "depthwise_relu6"), ("project", "add")]


def test_vits_attention_is_one_layer():
    rows, builds = rows_of(half(attention()))
    row = next(row for row in rows if "softmax" in row.onnx_nodes)
    assert {"scores", "softmax", "mix"} <= set(row.onnx_nodes)
    assert "mha" in row.kernel
    assert len(rows) < builds[0].network_layers / 2


def test_what_stays_alone_says_why_it_matters():
    from tests.models import Builder, convolution

    b = Builder()
    x = b.node("MaxPool", convolution(b.input("x", ("batch", 16, 30, 30)), b, 16, 32, pads=[1, 1, 1, 1]),
               kernel_shape=[2, 2], strides=[2, 2], name="pool")
    b.output(convolution(x, b, 32, 32, pads=[1, 1, 1, 1]), "y")
    rows, _ = rows_of(half(b.finish()))
    pool = row_with(rows, "pool")
    assert pool.onnx_nodes == ("pool",) and pool.reason.startswith("not fused") and "%" in pool.reason
    assert pool.activation_bytes == 2 * (32 * 30 * 30 + 32 * 15 * 15)


def test_every_computing_node_is_in_some_row():
    graph = half(residual())
    rows, _ = rows_of(graph)
    named = {node for row in rows for node in row.onnx_nodes}
    assert {"stem_relu", "first_relu", "second", "add", "relu"} <= named
    assert sum(row.flops for row in rows) == 3 * 2 * 64 * 64 * 9 * 56 * 56
