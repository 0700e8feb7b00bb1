"""A TIR function in numbers, for whoever decides its schedule."""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.schedule import Family, Workload
from edgecls.backends.tvm.schedules.prepare import blocks, prepare


def describe_workload(kernel: str, function: Any) -> Workload:
    """function: unscheduled PrimFunc with static shapes."""
    found = blocks(prepare(function))
    reducing = [b for b in found if b.reduction]
    main = max(reducing or found, key=lambda b: b.work, default=None)
    family: Family = "elementwise" if not reducing else "contraction" if main and main.multiplies else "reduction"
    return Workload(
        kernel=kernel, family=family,
        shapes=tuple(tuple(int(d) for d in p.shape) for p in function.params),
        spatial=main.spatial if main else (), reduction=main.reduction if main else (),
        columns=main.columns if main else None, rows=main.rows if main else None,
        flops=sum(2 * b.work for b in reducing))
