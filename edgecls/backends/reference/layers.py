"""One row of layers[] per ONNX node."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from edgecls.backends.onnx_cost import flops_of, value_shapes
from edgecls.types import Layer


def describe_nodes(model: onnx.ModelProto, batch: int, start: int) -> list[Layer]:
    """Rows numbered from `start`. Sizes come from the model's own value_info: 0 where it does not tell."""
    graph = model.graph
    shapes = {v.name: (v.type.tensor_type.elem_type, tuple(d.dim_value for d in v.type.tensor_type.shape.dim))
              for v in (*graph.value_info, *graph.input, *graph.output)}
    weights = {t.name: (t.data_type, tuple(t.dims)) for t in graph.initializer}
    known = value_shapes(model)
    layers = []
    for index, node in enumerate(graph.node, start):
        read = [name for name in node.input if name]
        layers.append(Layer(
            index=index, batch=batch, kernel=node.op_type, onnx_nodes=(node.name,), op=node.op_type,
            algorithm="onnxruntime", layout="NCHW", precision=_precision(shapes.get(node.output[0])),
            weight_bytes=sum(_bytes(weights[n]) for n in read if n in weights),
            activation_bytes=sum(_bytes(shapes[n]) for n in (*read, *node.output) if n in shapes and n not in weights),
            flops=flops_of(node, known), reason="the reference computes every node as it stands"))
    return layers


def _precision(value: tuple[int, tuple[int, ...]] | None) -> str:
    return "unknown" if value is None else str(np.dtype(helper.tensor_dtype_to_np_dtype(value[0])))


def _bytes(value: tuple[int, tuple[int, ...]]) -> int:
    return math.prod(value[1]) * np.dtype(helper.tensor_dtype_to_np_dtype(value[0])).itemsize
