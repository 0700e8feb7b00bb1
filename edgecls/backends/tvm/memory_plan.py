"""Step 6b: offsets in one arena, so that buffers alive at the same time never overlap.

Greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5.2):
the largest buffer first, each at the lowest offset where no neighbour in time is in the way.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgecls.backends.tvm.align import align
from edgecls.backends.tvm.call_plan import CallPlan, Slot


@dataclass(frozen=True)
class MemoryPlan:
    """offsets: per buffer, multiples of 64. arena_bytes: their extent. peak_bytes: most that is alive at once."""

    offsets: tuple[int, ...]
    arena_bytes: int
    peak_bytes: int


def plan_memory(plan: CallPlan) -> MemoryPlan:
    """Inputs and outputs live from the first call to the last: they are read and written around an invoke."""
    spans = _lifetimes(plan)
    sizes = [align(max(b, 1)) for b in plan.buffers]
    placed: list[int] = []
    offsets = [0] * len(sizes)
    for index in sorted(spans, key=lambda i: (-sizes[i], spans[i], i)):
        first, last = spans[index]
        blockers = sorted((offsets[j], offsets[j] + sizes[j]) for j in placed
                          if spans[j][0] <= last and first <= spans[j][1])
        offset = 0
        for start, end in blockers:
            if start - offset >= sizes[index]:
                break
            offset = max(offset, end)
        offsets[index] = offset
        placed.append(index)
    steps = range(len(plan.calls) + 1)
    alive = [sum(sizes[i] for i, (first, last) in spans.items() if first <= step <= last) for step in steps]
    return MemoryPlan(offsets=tuple(offsets),
                      arena_bytes=max((offsets[i] + sizes[i] for i in placed), default=0),
                      peak_bytes=max(alive, default=0))


def _lifetimes(plan: CallPlan) -> dict[int, tuple[int, int]]:
    """Buffer -> (first call, last call) that touches it, inclusive."""
    spans: dict[int, tuple[int, int]] = {}
    for step, call in enumerate(plan.calls):
        for place in call.places:
            if isinstance(place, Slot):
                first, _ = spans.get(place.buffer, (step, step))
                spans[place.buffer] = (first, step)
    for index in (*plan.inputs, *plan.outputs):
        spans[index] = (0, len(plan.calls))
    return spans
