"""Multiply batch normalisation into the convolution in front of it."""

from __future__ import annotations

from edgecls.passes.fold_constants import fold_constants
from edgecls.passes.library import rewrite
from edgecls.passes.network import Network


def fold_batch_norm(network: Network) -> None:
    """Conv + BatchNormalization -> Conv with other weights."""
    convolutions = {node.output[0]: node for node in network.graph.node if node.op_type == "Conv"}
    folded = [convolutions[node.input[0]] for node in network.graph.node
              if node.op_type == "BatchNormalization" and node.input[0] in convolutions]
    if not folded:
        return
    network.attach({name for node in folded for name in node.input[1:]})
    rewrite(network, ["fuse_bn_into_conv"])
    network.detach_large()
    fold_constants(network)  # the library leaves the arithmetic on the weights as nodes
