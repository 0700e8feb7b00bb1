"""float32 -> float16, with islands that stay float32."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgecls.oracle import import_onnxruntime
from edgecls.passes.network import reads
from edgecls.types import Array

LARGEST = 65504.0
MOVES = frozenset({"Cast", "Clip", "Concat", "Constant", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad",
                   "Relu", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""They move or choose values: in float16 they lose nothing that their input has not lost."""


def to_half(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """`model` in float16, except the nodes named in `keep` and those of beyond_range(); inputs and outputs keep their
    type. Uses `model` up.

    Operators that have no float16 version by ONNX's
    definition, or lose too much in it (onnxruntime.transformers.float16.DEFAULT_OP_BLOCK_LIST), stay float32.
    """
    import_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    own = {node.name for node in model.graph.node}
    kept = sorted({*keep, *beyond_range(model)})  # as `keep` has them, but not while the most sensitive are looked for
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each weight tensor with a number too small for float16
        half: Any = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    for field in (half.graph.node, half.graph.value_info):
        _keep_first(field)  # a value that two float32 nodes read is cast twice, under the same names
    _join_islands(half.graph, own)
    OnnxModel.graph_topological_sort(half.graph)  # it appends its Cast nodes at the end
    result: onnx.ModelProto = half
    return result


def beyond_range(model: onnx.ModelProto) -> tuple[str, ...]:
    """The nodes that read a finite constant beyond float16's range, which would become its largest number.

    Not Clip: a bound that no float16 number reaches bounds nothing. (What comes from a float32 node may reach it, and
    then overflows on its way into Clip: set_precision looks for that.)
    """
    graph = model.graph
    written = ((node.output[0], a.t) for node in graph.node if node.op_type == "Constant" for a in node.attribute)
    large = {name for name, tensor in (*((t.name, t) for t in graph.initializer), *written)
             if tensor.data_type == onnx.TensorProto.FLOAT and exceeds(numpy_helper.to_array(tensor))}
    return tuple(node.name for node in graph.node if node.op_type != "Clip" and large.intersection(reads(node)))


def between(model: onnx.ModelProto, keep: Collection[str]) -> frozenset[str]:
    """The nodes that only move values from a node in `keep` to another one, or from one of the network's ends to it:
    in float16 they would overflow with what the nodes in `keep` are kept for.
    """
    graph = model.graph
    starts, ends = {v.name for v in graph.input}, {v.name for v in graph.output}
    after, out = _reached(graph.node, keep, set()), _reached(graph.node, (), starts)
    backwards = [onnx.NodeProto(name=n.name, op_type=n.op_type, input=n.output, output=list(reads(n)))
                 for n in reversed(graph.node)]
    before, into = _reached(backwards, keep, set()), _reached(backwards, (), ends)
    return (after & (before | into)) | (out & before)


def _reached(nodes: Iterable[onnx.NodeProto], keep: Collection[str], values: set[str]) -> frozenset[str]:
    """Of MOVES, all that lie behind `values` and the nodes in `keep`, with nothing else between. nodes: in order."""
    found = set()
    for node in nodes:
        behind = node.op_type in MOVES and not values.isdisjoint(reads(node))
        if behind:
            found.add(node.name)
        if behind or node.name in keep:
            values.update(node.output)
    return frozenset(found - set(keep))


def exceeds(values: Array) -> bool:
    return bool((np.abs(values[np.isfinite(values)]) > LARGEST).any())


def _join_islands(graph: onnx.GraphProto, own: Collection[str]) -> None:
    """Between float32 neighbours, the network's ends among them, nothing goes through float16, which could overflow.

    own: names of the nodes that were there before; every other Cast is the converter's, whose names have changed.
    """
    casts = [(n, helper.get_node_attr_value(n, "to")) for n in graph.node if n.op_type == "Cast" and n.name not in own]
    narrowed = {n.output[0]: n.input[0] for n, to in casts if to == onnx.TensorProto.FLOAT16}
    direct = {n.output[0]: narrowed[n.input[0]] for n, to in casts
              if to == onnx.TensorProto.FLOAT and n.input[0] in narrowed}
    ends = {v.name for v in (*graph.input, *graph.output)}
    named: dict[str, str] = {}  # a value -> the network's output that it is
    for node in graph.node:
        if node.output[0] in ends and direct.get(node.output[0], "") not in {"", *ends, *named}:
            named[direct[node.output[0]]] = node.output[0]
            node.output[0] += "_from_half"  # read by nobody
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                name = direct.get(name, name) if names is node.input else name
                names[index] = named.get(name, name)
    for index in reversed([i for i, v in enumerate(graph.value_info) if v.name in named]):
        del graph.value_info[index]
    for _ in range(2):  # first the widening casts, then the narrowing ones that only those read
        read = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
        for index in reversed([i for i, n in enumerate(graph.node)
                               if n.op_type == "Cast" and n.output[0] not in read]):
            del graph.node[index]


def _keep_first(field: Any) -> None:
    """Remove every later message that equals an earlier one."""
    data = [message.SerializeToString(deterministic=True) for message in field]
    for index in reversed([i for i, this in enumerate(data) if data.index(this) < i]):
        del field[index]
