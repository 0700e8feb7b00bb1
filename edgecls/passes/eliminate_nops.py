"""Remove nodes that return what they were given."""

from __future__ import annotations

from edgecls.passes.library import rewrite
from edgecls.passes.network import Network


def eliminate_nops(network: Network) -> None:
    """Identity, Dropout, casts to the same type, + 0, x 1, paddings by nothing, one-part Split and Concat..."""
    rewrite(network, [
        "eliminate_identity",
        "eliminate_nop_dropout",
        "eliminate_nop_cast",
        "eliminate_nop_pad",
        "eliminate_nop_flatten",
        "eliminate_nop_concat",
        "eliminate_nop_split",
        "eliminate_nop_with_unit",
        "eliminate_consecutive_idempotent_ops",
    ])
