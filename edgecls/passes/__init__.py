"""Rewrites of the ONNX graph: each batch size bound, shapes made static, whatever is constant folded.

    optimize_graph(ExportedGraph) -> OptimizedGraph

One file per rewrite; default.py lists them in order. Each is checked against the un-optimised network.
"""

from edgecls.passes.default import DEFAULT_PASSES, Pass
from edgecls.passes.optimize import optimize_graph

__all__ = ["DEFAULT_PASSES", "Pass", "optimize_graph"]
