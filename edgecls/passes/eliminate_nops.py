"""Remove nodes that return what they were given."""

from __future__ import annotations

from edgecls.passes.library import rewrite
from edgecls.passes.network import Network, reads


def eliminate_nops(network: Network) -> None:
    """Identity, Dropout, casts to the same type, + 0, x 1, paddings by nothing, one-part Split and Concat..."""
    _dropout_to_identity(network)
    rewrite(network, [
        "eliminate_identity",
        "eliminate_nop_cast",
        "eliminate_nop_pad",
        "eliminate_nop_flatten",
        "eliminate_nop_concat",
        "eliminate_nop_split",
        "eliminate_nop_with_unit",
        "eliminate_consecutive_idempotent_ops",
    ])


def _dropout_to_identity(network: Network) -> None:
    """Dropout in inference, its mask unread; the library knows only the form of old opsets."""
    read = {name for node in network.graph.node for name in reads(node)} | {v.name for v in network.graph.output}
    for node in network.graph.node:
        training = len(node.input) > 2 and node.input[2]
        if node.op_type == "Dropout" and not training and read.isdisjoint(node.output[1:]):
            del node.input[1:], node.output[1:], node.attribute[:]
            node.op_type = "Identity"
