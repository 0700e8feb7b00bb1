"""One row of layers[] per ONNX node."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from edgecls.types import Layer


def describe_nodes(model: onnx.ModelProto, batch: int, start: int) -> list[Layer]:
    """Rows numbered from `start`. Sizes come from the model's own value_info: 0 where it does not tell."""
    graph = model.graph
    shapes = {v.name: (v.type.tensor_type.elem_type, tuple(d.dim_value for d in v.type.tensor_type.shape.dim))
              for v in (*graph.value_info, *graph.input, *graph.output)}
    weights = {t.name: (t.data_type, tuple(t.dims)) for t in graph.initializer}
    layers = []
    for index, node in enumerate(graph.node, start):
        read = [name for name in node.input if name]
        layers.append(Layer(
            index=index, batch=batch, kernel=node.op_type, onnx_nodes=(node.name,), op=node.op_type,
            algorithm="onnxruntime", layout="NCHW", precision=_precision(shapes.get(node.output[0])),
            weight_bytes=sum(_bytes(weights[n]) for n in read if n in weights),
            activation_bytes=sum(_bytes(shapes[n]) for n in (*read, *node.output) if n in shapes and n not in weights),
            flops=_flops(node, shapes | weights), reason="the reference computes every node as it stands"))
    return layers


def _precision(value: tuple[int, tuple[int, ...]] | None) -> str:
    return "unknown" if value is None else str(np.dtype(helper.tensor_dtype_to_np_dtype(value[0])))


def _bytes(value: tuple[int, tuple[int, ...]]) -> int:
    return math.prod(value[1]) * np.dtype(helper.tensor_dtype_to_np_dtype(value[0])).itemsize


def _flops(node: onnx.NodeProto, values: dict[str, tuple[int, tuple[int, ...]]]) -> int:
    """2 x multiply-adds of convolutions and matrix products; 0 for the rest."""
    if node.output[0] not in values or any(n not in values for n in node.input[:2]):
        return 0
    result = math.prod(values[node.output[0]][1])
    if node.op_type == "Conv":
        return 2 * result * math.prod(values[node.input[1]][1][1:])
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return 2 * result * values[node.input[0]][1][0 if transposed else 1]
    if node.op_type == "MatMul":
        return 2 * result * values[node.input[0]][1][-1]
    return 0
