"""How far two tensors lie apart. What cannot be said is None, never a number that looks good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgecls.types import Array


class Difference(NamedTuple):
    """absolute: largest absolute difference. reach: largest minus smallest value of the reference.
    relative: absolute / reach; None when the reference is constant and something else was computed.
    """

    absolute: float | None
    reach: float | None
    relative: float | None


def difference(ours: Array, reference: Array) -> Difference:
    """Of two tensors of one shape; all None when either is empty or not finite throughout."""
    a, b = ours.astype(np.float64), reference.astype(np.float64)
    if a.size == 0 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Difference(None, None, None)
    absolute, reach = float(np.abs(a - b).max()), float(b.max() - b.min())
    relative = absolute / reach if reach > 0 else (0.0 if absolute == 0 else None)
    return Difference(absolute, reach, relative)


def largest(values: Sequence[float | None]) -> float | None:
    """None as soon as one is unknown: a maximum that leaves out the worst would be a lie."""
    known = [v for v in values if v is not None]
    return max(known) if known and len(known) == len(values) else None
