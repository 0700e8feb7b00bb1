"""onnxoptimizer's rewrites, applied to a Network."""

from __future__ import annotations

from collections.abc import Sequence

from edgecls.errors import ModelError
from edgecls.passes.network import Network, first_line


def rewrite(network: Network, passes: Sequence[str]) -> None:
    """Run onnxoptimizer's `passes` until nothing changes. They rely on inferred shapes.

    Raises ModelError for a network that ONNX Runtime forgives and onnxoptimizer cannot read.
    """
    import onnxoptimizer

    network.infer_types()
    try:
        network.model = onnxoptimizer.optimize(network.model, list(passes), fixed_point=True)
    except Exception as error:  # it raises whatever its C++ part does
        raise ModelError(f"the network cannot be rewritten: {first_line(error)}", "export it again") from None
