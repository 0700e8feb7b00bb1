"""Make ONNX Runtime's CPU kernels round where a float16 network rounds.

Its CPU has no float16 kernels: it computes in float32 and leaves out the conversions between neighbouring nodes, so a
float16 graph neither rounds nor overflows inside (seen with 1.31: 2 x 60000 / 60000 is 2). Conversions that stand in
a float32 graph are kept. So the same network is written in float32, with every float16 value rounded once, where it is
made. Sums inside a node are float32, as in a GPU's tensor cores.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def spell_out_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` itself when nothing in it is float16, else the float32 network that rounds alike. Inner graphs stay."""
    if not any(_mentions_half(node) for node in model.graph.node) and not any(map(_is_half, model.graph.initializer)):
        return model
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    del graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(wide).graph
    half = {v.name for v in (*inferred.value_info, *graph.output)
            if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
    for tensor in graph.initializer:
        if _is_half(tensor):
            tensor.CopyFrom(_widened(tensor))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    nodes = [new for node in graph.node for new in _rounded(node, half)]
    del graph.node[:]
    graph.node.extend(nodes)
    return wide


def _rounded(node: onnx.NodeProto, half: set[str]) -> Iterator[onnx.NodeProto]:
    """The node in float32, and after it one rounding for each float16 value it makes."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR and _is_half(attribute.t):
            attribute.t.CopyFrom(_widened(attribute.t))
        elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
    made = [name for name in node.output if name in half]
    for index, name in enumerate(node.output):
        if name in half:
            node.output[index] = f"{name}/unrounded"
    yield node
    for name in made:
        yield helper.make_node("Cast", [f"{name}/unrounded"], [f"{name}/half"], f"{name}/round",
                               to=TensorProto.FLOAT16)
        yield helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/widen", to=TensorProto.FLOAT)


def _mentions_half(node: onnx.NodeProto) -> bool:
    return any((a.name == "to" and a.i == TensorProto.FLOAT16) or _is_half(a.t) for a in node.attribute)


def _is_half(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_type == TensorProto.FLOAT16)


def _widened(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
