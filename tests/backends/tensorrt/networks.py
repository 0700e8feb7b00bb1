"""The blocks whose fusion is known, as small networks."""

from __future__ import annotations

import numpy as np

from edgecls.passes import optimize_graph
from edgecls.passes.precision import PrecisionOptions, set_precision
from edgecls.types import ExportedGraph, OptimizedGraph
from tests.models import Builder, convolution


def residual() -> ExportedGraph:
    """ResNet's basic block (He et al., 2015, figure 2): conv, relu, conv, add the input, relu."""
    b = Builder()
    x = b.node("Relu", convolution(b.input("x", ("batch", 64, 56, 56)), b, 64, 64, pads=[1, 1, 1, 1]), name="stem_relu")
    y = b.node("Relu", convolution(x, b, 64, 64, pads=[1, 1, 1, 1]), name="first_relu")
    y = b.node("Conv", y, b.weight(64, 64, 3, 3), b.weight(64), name="second", pads=[1, 1, 1, 1])
    y = b.node("Add", y, x, name="add")
    b.output(b.node("Relu", y, name="relu"), "y")
    return b.finish()


def inverted_residual() -> ExportedGraph:
    """MobileNetV2's block (Sandler et al., 2018, figure 3): expand, relu6, depthwise, relu6, project, add the input."""
    b = Builder()
    zero, six = b.constant(0, np.float32), b.constant(6, np.float32)
    x = b.node("Relu", convolution(b.input("x", ("batch", 24, 28, 28)), b, 24, 24, 1), name="stem_relu")
    y = b.node("Conv", x, b.weight(144, 24, 1, 1), b.weight(144), name="expand")
    y = b.node("Clip", y, zero, six, name="expand_relu6")
    y = b.node("Conv", y, b.weight(144, 1, 3, 3), b.weight(144), name="depthwise", group=144, pads=[1, 1, 1, 1])
    y = b.node("Clip", y, zero, six, name="depthwise_relu6")
    y = b.node("Conv", y, b.weight(24, 144, 1, 1), b.weight(24), name="project")
    b.output(b.node("Add", y, x, name="add"), "y")
    return b.finish()


def attention() -> ExportedGraph:
    """ViT's attention (Dosovitskiy et al., 2020, equation 7): 3 heads of 64 over 197 tokens."""
    b = Builder()
    x = b.input("x", ("batch", 197, 192))
    heads = b.constant([0, 197, 3, 64], np.int64)
    q, k, v = (b.node("Transpose", b.node("Reshape", b.node("MatMul", x, b.weight(192, 192), name=f"{part}_product"),
                                          heads), perm=[0, 2, *order]) for part, order in
               (("q", (1, 3)), ("k", (3, 1)), ("v", (1, 3))))
    scores = b.node("Softmax", b.node("Mul", b.node("MatMul", q, k, name="scores"), b.constant(0.125, np.float32)),
                    axis=-1, name="softmax")
    y = b.node("Transpose", b.node("MatMul", scores, v, name="mix"), perm=[0, 2, 1, 3])
    y = b.node("MatMul", b.node("Reshape", y, b.constant([0, 197, 192], np.int64)), b.weight(192, 192), name="out")
    b.output(b.node("Add", y, x, name="add"), "y")
    return b.finish()


def half(exported: ExportedGraph, *batches: int) -> OptimizedGraph:
    return set_precision(optimize_graph(exported, batches or (1,)), PrecisionOptions(precision="fp16"))
