"""What the nodes of an ONNX graph cost, from its own shapes."""

from __future__ import annotations

import math

import onnx

Shapes = dict[str, tuple[int, ...]]


def value_shapes(model: onnx.ModelProto) -> Shapes:
    """Of every value the model declares, constants included."""
    graph = model.graph
    shapes: Shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
                      for v in (*graph.value_info, *graph.input, *graph.output)}
    return shapes | {t.name: tuple(t.dims) for t in graph.initializer}


def node_flops(model: onnx.ModelProto) -> dict[str, int]:
    """flops_of every node, by name."""
    shapes = value_shapes(onnx.shape_inference.infer_shapes(model))
    return {node.name: flops_of(node, shapes) for node in model.graph.node}


def flops_of(node: onnx.NodeProto, shapes: Shapes) -> int:
    """2 x multiply-adds of convolutions and matrix products; 0 for the rest, and where a shape is not known."""
    if node.output[0] not in shapes or any(n not in shapes for n in node.input[:2]):
        return 0
    result = math.prod(shapes[node.output[0]])
    if node.op_type == "Conv":
        return 2 * result * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return 2 * result * shapes[node.input[0]][0 if transposed else 1]
    if node.op_type == "MatMul":
        return 2 * result * shapes[node.input[0]][-1]
    return 0
