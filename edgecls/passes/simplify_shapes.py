"""Say every shape as plain numbers, and drop what changes none."""

from __future__ import annotations

import numpy as np

from edgecls.passes.fold_constants import fold_constants
from edgecls.passes.library import rewrite
from edgecls.passes.network import Network, static_shape


def simplify_shapes(network: Network) -> None:
    """Give each Reshape its result's shape (no -1, no 0), then remove Reshape and Expand that do nothing."""
    types = network.infer_types()
    for node in network.graph.node:
        shape = static_shape(types.get(node.output[0])) if node.op_type == "Reshape" else None
        if shape is None or 0 in shape:
            continue
        name = f"{node.output[0]}_shape"
        if name in types or node.input[1] == name:
            continue
        network.add_constant(name, np.array(shape, np.int64))
        node.input[1] = name
    rewrite(network, ["eliminate_nop_reshape", "eliminate_nop_expand", "fuse_consecutive_squeezes",
                      "fuse_consecutive_unsqueezes"])
    fold_constants(network)
