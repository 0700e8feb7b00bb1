"""Remove what no output needs."""

from __future__ import annotations

from edgecls.passes.library import rewrite
from edgecls.passes.network import Network


def remove_dead_ends(network: Network) -> None:
    """Nodes whose results nothing reads, then constants that nothing reads."""
    rewrite(network, ["eliminate_deadend"])
    network.drop_unused_constants()
