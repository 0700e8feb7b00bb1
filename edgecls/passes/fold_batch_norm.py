"""Multiply batch normalisation into the convolution in front of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto

from edgecls.passes.network import Network, attributes, maps, reads, unused_name
from edgecls.types import Array

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})


def fold_batch_norm(network: Network) -> None:
    """Conv + BatchNormalization -> Conv with other weights, where nothing else reads the convolution."""
    if not any(node.op_type == "BatchNormalization" for node in network.graph.node):
        return
    types, constants, taken = network.infer_types(), network.constants(), network.names()
    floats = {name: value for name, value in constants.items() if types[name].tensor_type.elem_type in _FLOATS}
    readers = Counter(name for node in network.graph.node for name in reads(node))
    readers.update(value.name for value in network.graph.output)
    convolutions = {n.output[0]: n for n in network.graph.node if maps(n, "Conv")}
    folded = set()
    for index, node in enumerate(network.graph.node):
        convolution = convolutions.get(node.input[0]) if _is_inference(node) else None
        fused = _fuse(convolution, node, floats) if convolution and readers[node.input[0]] == 1 else None
        if convolution is None or fused is None:
            continue
        names = [unused_name(f"{convolution.output[0]}_{part}", taken) for part in ("weight", "bias")]
        for name, value in zip(names, fused, strict=True):
            network.add_constant(name, value)
        convolution.input[:] = [convolution.input[0], *names]
        convolution.output[0] = node.output[0]
        folded.add(index)
    network.remove_nodes(folded)
    network.drop_unused_constants()


def _is_inference(node: onnx.NodeProto) -> bool:
    """A BatchNormalization by stored statistics."""
    return (maps(node, "BatchNormalization") and len(node.input) == 5 and not any(node.output[1:])
            and not attributes(node).get("training_mode", 0))


def _fuse(convolution: onnx.NodeProto, node: onnx.NodeProto,
          constants: Mapping[str, Array]) -> tuple[Array, Array] | None:
    """Weight and bias of the convolution that does both, None where they are not constant and finite."""
    bias_name = convolution.input[2] if len(convolution.input) > 2 else ""
    names = [convolution.input[1], *node.input[1:], *filter(None, [bias_name])]
    if not all(name in constants for name in names):
        return None
    dtype = constants[names[0]].dtype
    with np.errstate(all="ignore"):  # a negative variance, a value beyond float16: seen below
        weight, scale, shift, mean, variance = (constants[name].astype(np.float64) for name in names[:5])
        bias = constants[bias_name].astype(np.float64) if bias_name else np.zeros(weight.shape[:1])
        if any(value.shape != weight.shape[:1] for value in (scale, shift, mean, variance, bias)):
            return None
        factor = scale / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        weight *= factor.reshape(-1, *[1] * (weight.ndim - 1))
        bias = (bias - mean) * factor + shift
        fused = (weight.astype(dtype), bias.astype(dtype))
    return fused if all(np.isfinite(value).all() for value in fused) else None
