"""Say every shape as plain numbers, and drop what changes none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx

from edgecls.passes.fold_constants import fold_constants
from edgecls.passes.network import Network, maps, reads, same_type, static_shape, unused_name
from edgecls.passes.rewire import bypass, remove_unread
from edgecls.types import Array

_RESHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")  # the same elements in the same order
_FIRST_OPSET = 5  # before it, the shape was an attribute of Reshape


def simplify_shapes(network: Network) -> None:
    """Give each Reshape its result's shape (no -1, no 0), join it with what reshapes before, remove the idle ones."""
    if network.opset >= _FIRST_OPSET:
        _join_reshapes(network)
    types = network.infer_types()

    def source(node: onnx.NodeProto) -> str | None:
        idle = maps(node, *_RESHAPING, "Expand") and same_type(types.get(node.input[0]), types.get(node.output[0]))
        return str(node.input[0]) if idle else None

    bypass(network, source)
    remove_unread(network)
    fold_constants(network)


def _join_reshapes(network: Network) -> None:
    """A chain of Reshape, Flatten, Squeeze and Unsqueeze that nothing else reads becomes one Reshape."""
    types, constants, taken = network.infer_types(), network.constants(), network.names()
    readers = Counter(name for node in network.graph.node for name in reads(node))
    readers.update(value.name for value in network.graph.output)
    sources: dict[str, str] = {}
    for node in network.graph.node:
        if not maps(node, *_RESHAPING):
            continue
        before = sources.get(node.input[0]) if readers[node.input[0]] == 1 else None
        sources[node.output[0]] = before or node.input[0]
        shape = static_shape(types.get(node.output[0]))
        if shape is None or 0 in shape:
            continue
        if before is None and (node.op_type != "Reshape" or _values(constants, node.input[1]) == shape):
            continue
        name = unused_name(f"{node.output[0]}_shape", taken)
        network.add_constant(name, np.array(shape, np.int64))
        node.op_type = "Reshape"
        node.input[:] = [before or node.input[0], name]
        del node.attribute[:]


def _values(constants: Mapping[str, Array], name: str) -> tuple[int, ...] | None:
    return tuple(constants[name].tolist()) if name in constants else None
