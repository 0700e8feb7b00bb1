"""Multiply batch normalisation into the convolution in front of it."""

from __future__ import annotations

from collections import Counter

from edgecls.passes.fold_constants import fold_constants
from edgecls.passes.library import rewrite
from edgecls.passes.network import Network, reads


def fold_batch_norm(network: Network) -> None:
    """Conv + BatchNormalization -> Conv with other weights, where nothing else reads the convolution."""
    readers = Counter(name for node in network.graph.node for name in reads(node))
    readers.update(value.name for value in network.graph.output)
    convolutions = {n.output[0]: n for n in network.graph.node if n.op_type == "Conv" and readers[n.output[0]] == 1}
    folded = [convolutions[node.input[0]] for node in network.graph.node
              if node.op_type == "BatchNormalization" and node.input[0] in convolutions]
    if not folded:
        return
    network.attach({name for node in folded for name in node.input[1:]})
    rewrite(network, ["fuse_bn_into_conv"])
    network.detach_large()
    fold_constants(network)  # the library leaves the arithmetic on the weights as nodes
