"""Evaluate, once and here, whatever does not depend on the input: with static shapes that includes every Shape."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgecls.passes.evaluate import evaluate
from edgecls.passes.network import Network, has_subgraph, is_standard, reads, static_shape

# A result may be larger than what it is made of (Expand, ConstantOfShape), but not without limit.
_MAX_GROWTH = 16 << 20
_ROUNDS = 1000
_FOLDABLE = frozenset({
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8,
    TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32, TensorProto.UINT32, TensorProto.INT64, TensorProto.UINT64,
})
# Quantised weights must stay quantised.
_KEPT = frozenset({"DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"})


def fold_constants(network: Network) -> None:
    """Replace constant subgraphs by their values, until nothing changes: a folded shape makes more shapes known."""
    for _ in range(_ROUNDS):
        types = network.infer_types()
        folded = _fold_shapes(network, types) | _fold_values(network, types)
        if not folded:
            break
        network.remove_nodes({index for index, node in enumerate(network.graph.node)
                              if not folded.isdisjoint(node.output)})
    network.drop_unused_constants()


def _fold_shapes(network: Network, types: Mapping[str, onnx.TypeProto]) -> set[str]:
    """Make the results of Shape and Size constant where inference knows them; their names."""
    folded = set()
    for node in network.graph.node:
        shape = static_shape(types.get(node.input[0])) if node.op_type in ("Shape", "Size") and node.input else None
        if shape is None:
            continue
        if node.op_type == "Size":
            value = np.array(np.prod(shape, dtype=np.int64))
        else:
            bounds = {a.name: a.i for a in node.attribute}
            value = np.array(shape[bounds.get("start", 0):bounds.get("end", len(shape))], np.int64)
        network.add_constant(node.output[0], value)
        folded.add(node.output[0])
    return folded


def _fold_values(network: Network, types: Mapping[str, onnx.TypeProto]) -> set[str]:
    """Evaluate every node that reads constants only, in one run; names of the values they wrote."""
    constants = {t.name for t in network.graph.initializer} | network.weights.keys()
    nodes: list[onnx.NodeProto] = []
    written: set[str] = set()
    for node in network.graph.node:
        if _is_foldable(node, types) and all(name in constants or name in written for name in reads(node)):
            if not constants.isdisjoint(node.output):  # a Shape that has just become constant
                continue
            nodes.append(node)
            written.update(filter(None, node.output))
    if not nodes:
        return set()
    inside = {id(node) for node in nodes}
    wanted = {v.name for v in network.graph.output}
    wanted.update(name for node in network.graph.node if id(node) not in inside for name in reads(node))
    for name, value in evaluate(network, nodes, sorted(wanted & written)).items():
        network.add_constant(name, value)
    return written


def _is_foldable(node: onnx.NodeProto, types: Mapping[str, onnx.TypeProto]) -> bool:
    if not is_standard(node) or node.op_type in _KEPT or has_subgraph(node):
        return False
    return all(_is_small_enough(types.get(name), [types.get(i) for i in node.input]) for name in node.output if name)


def _is_small_enough(result: onnx.TypeProto | None, sources: list[onnx.TypeProto | None]) -> bool:
    size = _bytes(result)
    return size is not None and size <= _MAX_GROWTH + sum(_bytes(s) or 0 for s in sources)


def _bytes(kind: onnx.TypeProto | None) -> int | None:
    """Bytes of a tensor of a foldable type and static shape, else None."""
    shape = static_shape(kind)
    if kind is None or shape is None or kind.tensor_type.elem_type not in _FOLDABLE:
        return None
    itemsize = np.dtype(helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)).itemsize
    return int(np.prod(shape, dtype=np.float64)) * itemsize
