"""Remove what no output needs."""

from __future__ import annotations

from edgecls.passes.network import Network
from edgecls.passes.rewire import remove_unread


def remove_dead_ends(network: Network) -> None:
    """Nodes whose results nothing reads, then constants that nothing reads."""
    remove_unread(network)
