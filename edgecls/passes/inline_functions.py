"""Replace calls of the model's own functions by their bodies: no backend knows them."""

from __future__ import annotations

import onnx.inliner

from edgecls.passes.network import Network


def inline_functions(network: Network) -> None:
    """After this the model has operators only."""
    if network.model.functions:
        network.model = onnx.inliner.inline_local_functions(network.model)
