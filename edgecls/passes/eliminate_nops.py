"""Remove nodes that return what they were given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from edgecls.passes.network import Network, attributes, maps, reads, same_type
from edgecls.passes.rewire import bypass
from edgecls.types import Array

# These do nothing when the result has the type of the (only) input.
_UNARY = ("Cast", "CastLike", "Flatten", "Split", "Tile")
_VARIADIC = ("Concat", "Max", "Mean", "Min", "Sum")
_IDEMPOTENT = ("Abs", "Ceil", "Floor", "Relu", "Round", "Sign")
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
_COMMUTATIVE = ("Add", "Mul")


def eliminate_nops(network: Network) -> None:
    """Identity, Dropout, casts to the same type, + 0, x 1, paddings by nothing, one-part Split and Concat..."""
    while _sweep(network):
        pass


def _sweep(network: Network) -> bool:
    types, constants = network.infer_types(), network.constants()
    writers = {name: node for node in network.graph.node for name in node.output}
    read = {name for node in network.graph.node for name in reads(node)} | {v.name for v in network.graph.output}

    def source(node: onnx.NodeProto) -> str | None:
        """The value that the node returns unchanged, None when it does something."""
        if not maps(node, node.op_type) or not read.isdisjoint(node.output[1:]):
            return None
        if _returns_input(node, constants) or _repeats(node, writers):
            return str(node.input[0])
        return next((name for name in _candidates(node, constants)
                     if same_type(types.get(name), types.get(node.output[0]))), None)

    return bypass(network, source)


def _returns_input(node: onnx.NodeProto, constants: Mapping[str, Array]) -> bool:
    if node.op_type != "Dropout":
        return node.op_type == "Identity"
    training = node.input[2] if len(node.input) > 2 else ""
    return not training or (training in constants and not constants[training].any())


def _repeats(node: onnx.NodeProto, writers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether the same was done just before, and once is enough."""
    return node.op_type in _IDEMPOTENT and node.input[0] in writers and maps(writers[node.input[0]], node.op_type)


def _candidates(node: onnx.NodeProto, constants: Mapping[str, Array]) -> list[str]:
    """Inputs that the node returns if they have the type of its result."""
    first = node.input[:1]
    if node.op_type in _UNARY or (node.op_type in _VARIADIC and len(node.input) == 1):
        return list(first)
    if node.op_type == "Pad":
        pads = constants.get(node.input[1]) if len(node.input) > 1 else attributes(node).get("pads")
        return [] if pads is None or np.any(pads) else list(first)
    if node.op_type in _NEUTRAL:
        pairs = [(node.input[0], node.input[1]), (node.input[1], node.input[0])]
        return [value for value, other in pairs[:2 if node.op_type in _COMMUTATIVE else 1]
                if other in constants and np.all(constants[other] == _NEUTRAL[node.op_type])]
    return []
