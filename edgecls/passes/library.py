"""onnxoptimizer's rewrites, applied to a Network."""

from __future__ import annotations

from collections.abc import Sequence

from edgecls.passes.network import Network


def rewrite(network: Network, passes: Sequence[str]) -> None:
    """Run onnxoptimizer's `passes` until nothing changes. They rely on inferred shapes."""
    import onnxoptimizer

    network.infer_types()
    network.model = onnxoptimizer.optimize(network.model, list(passes), fixed_point=True)
