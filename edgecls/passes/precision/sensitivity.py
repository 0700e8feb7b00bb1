"""Which layers lose most in low precision: each one tried alone, everything else float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx

from edgecls.interfaces import Progress
from edgecls.passes.evaluate import run
from edgecls.passes.network import Network
from edgecls.types import Array

Lower = Callable[[onnx.ModelProto, "frozenset[str]"], onnx.ModelProto]
"""(float32 model, names of nodes to keep) -> the model in low precision."""


def most_sensitive(model: bytes, lower: Lower, candidates: Sequence[str], feed: Mapping[str, Array], count: int,
                   progress: Progress) -> tuple[str, ...]:
    """The `count` of `candidates` whose low precision alone changes the outputs most, the worst first.

    Measured as the root mean square difference relative to that of the output itself, over all outputs; equal ones
    in the order of the graph. Raises ModelError.
    """
    names = frozenset(node.name for node in onnx.load_from_string(model).graph.node)
    expected = run(Network.parse(model), feed)
    errors: dict[str, float] = {}
    for done, name in enumerate(candidates):
        progress("trying layers in low precision", done, len(candidates))
        alone = lower(onnx.load_from_string(model), names - {name})
        errors[name] = _error(run(Network.parse(alone.SerializeToString()), feed), expected)
    return tuple(sorted(candidates, key=lambda name: -errors[name])[:count])


def _error(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    worst = 0.0
    for name, wanted in expected.items():
        a, b = np.asarray(actual[name], np.float64), np.asarray(wanted, np.float64)
        with np.errstate(invalid="ignore"):
            difference = float(np.sqrt(np.mean((a - b) ** 2)) / max(float(np.sqrt(np.mean(b**2))), 1e-30))
        worst = max(worst, difference if np.isfinite(difference) else float("inf"))
    return worst
