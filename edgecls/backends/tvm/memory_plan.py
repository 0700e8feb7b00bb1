"""Step 6b: offsets in one arena, so that what is alive at the same time never overlaps, whatever the number of threads.

A buffer has one place for its whole life. A kernel's workspaces need a place only while it runs, and more of it with
more threads, which are not known yet: each call's begin above everything that is alive then, one thread's after the
other's, so that one offset per call serves every number of threads, and what earlier or later calls use is used again.

Placing is greedy: each buffer in turn at the lowest offset where no neighbour in time is in the way. What counts is the
turn. Tried are: by size, and by what is alive at a buffer's fullest call (Pisarchyk and Lee, "Efficient Memory
Management for Deep Neural Net Inference", 2020, arXiv:2001.03288, sections 5.2 and 5.1); the best is improved by
letting the buffers go first that are in the way of the call that needs most, and by moving some at random (seeded).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecls.backends.tvm.align import align
from edgecls.backends.tvm.call_plan import CallPlan, Slot, Workspace

# thread counts that a plan is judged by
_THREADS = (1, 2, 4, 8, 16)
# attempts in vain before a plan counts as good; most networks need none
_PATIENCE = 600

Span = tuple[int, int]


@dataclass(frozen=True)
class MemoryPlan:
    """offsets: per buffer, multiples of 64. extent: where the last buffer ends. scratch: where each call's workspaces
    begin. live: bytes of the buffers alive at each call. workspaces: of each call."""

    offsets: tuple[int, ...]
    extent: int
    scratch: tuple[int, ...]
    live: tuple[int, ...]
    workspaces: tuple[Workspace, ...]

    def arena_bytes(self, threads: int = 1) -> int:
        """What a session of that many threads needs: buffers and workspaces."""
        return max(self.extent, *(o + _bytes(w, threads) for o, w in zip(self.scratch, self.workspaces, strict=True)))

    @property
    def workspace_bytes(self) -> int:
        """What each further thread adds at most."""
        return max(w.per_thread for w in self.workspaces)

    def peak_bytes(self, threads: int = 1) -> int:
        """Most that is alive at once, which no plan can undercut."""
        return max(b + _bytes(w, threads) for b, w in zip(self.live, self.workspaces, strict=True))


def plan_memory(plan: CallPlan, workspaces: Mapping[str, Workspace]) -> MemoryPlan:
    """workspaces: by kernel. Inputs live until the end, since they survive an invoke, and so do outputs."""
    return _Planner(plan, [workspaces.get(call.kernel, Workspace()) for call in plan.calls]).best()


class _Planner:
    def __init__(self, plan: CallPlan, workspaces: Sequence[Workspace]) -> None:
        self.sizes = [align(max(b, 1)) for b in plan.buffers]
        self.spans = lifetimes(plan)
        self.workspaces = tuple(workspaces)
        steps = range(len(plan.calls))
        self.alive = [[i for i, (first, last) in self.spans.items() if first <= step <= last] for step in steps]
        self.live = tuple(sum(self.sizes[i] for i in alive) for alive in self.alive)
        self.neighbours: dict[int, set[int]] = {i: set() for i in self.spans}
        for alive in self.alive:
            for i in alive:
                self.neighbours[i].update(alive)

    def best(self) -> MemoryPlan:
        orders = [self._by_size(self.spans), *(self._by_breadth(threads) for threads in _THREADS)]
        order, best = min(((o, self._placed(o)) for o in orders), key=lambda pair: self._cost(pair[1]))
        cost, chance, vain = self._cost(best), random.Random(0), 0
        while vain < _PATIENCE and cost[0] > 1.0:
            changed = self._moved(order, chance) if vain % 2 else self._promoted(order, best, chance)
            found = self._placed(changed)
            new = self._cost(found)
            vain = 0 if new < cost else vain + 1
            if new <= cost:
                order, best, cost = changed, found, new
        return best

    def _by_size(self, buffers: Sequence[int] | dict[int, Span]) -> list[int]:
        """Those that are always alive first: they are in everybody's way wherever they are, least of all at the end."""
        return sorted(buffers, key=lambda i: (self.spans[i] != (0, len(self.alive) - 1), -self.sizes[i],
                                              self.spans[i], i))

    def _by_breadth(self, threads: int) -> list[int]:
        order: dict[int, None] = dict.fromkeys(i for i in self._by_size(self.spans)
                                               if self.spans[i] == (0, len(self.alive) - 1))
        for step in sorted(range(len(self.alive)), key=lambda s: (-self._need(s, threads), s)):
            order.update(dict.fromkeys(self._by_size(self.alive[step])))
        return list(order)

    def _need(self, step: int, threads: int) -> int:
        return self.live[step] + _bytes(self.workspaces[step], threads)

    def _moved(self, order: list[int], chance: random.Random) -> list[int]:
        """Any buffer somewhere else."""
        changed = list(order)
        changed.insert(chance.randrange(len(order)), changed.pop(chance.randrange(len(order))))
        return changed

    def _promoted(self, order: list[int], plan: MemoryPlan, chance: random.Random) -> list[int]:
        """The buffers of the call that reaches highest, for the thread count that is worst off, go first."""
        threads = max(_THREADS, key=lambda t: plan.arena_bytes(t) / plan.peak_bytes(t))
        tops = self._tops(plan.offsets)
        step = max(range(len(tops)), key=lambda s: (
            max(tops[s], plan.scratch[s] + _bytes(self.workspaces[s], threads)), self.live[s], -s))
        first = list(self.alive[step])
        chance.shuffle(first)
        return list(dict.fromkeys([*first, *order]))

    def _placed(self, order: Sequence[int]) -> MemoryPlan:
        offsets: dict[int, int] = {}
        for index in order:
            offset = 0
            for start, end in sorted((offsets[j], offsets[j] + self.sizes[j])
                                     for j in self.neighbours[index] if j in offsets):
                if start - offset >= self.sizes[index]:
                    break
                offset = max(offset, end)
            offsets[index] = offset
        tops = self._tops(offsets)
        scratch = tuple(top if _bytes(w, 1) else 0 for top, w in zip(tops, self.workspaces, strict=True))
        return MemoryPlan(offsets=tuple(offsets.get(i, 0) for i in range(len(self.sizes))), extent=max(tops),
                          scratch=scratch, live=self.live, workspaces=self.workspaces)

    def _tops(self, offsets: Mapping[int, int] | Sequence[int]) -> list[int]:
        """Where the last buffer ends that is alive at each call."""
        return [max((offsets[i] + self.sizes[i] for i in alive), default=0) for alive in self.alive]

    def _cost(self, plan: MemoryPlan) -> tuple[float, int]:
        """How far the worst thread count is from its peak; then by how much how many calls reach beyond it."""
        beyond = 0
        ideal = [(t, plan.peak_bytes(t)) for t in _THREADS]
        for top, start, space in zip(self._tops(plan.offsets), plan.scratch, self.workspaces, strict=True):
            beyond += sum(max(0, max(top, start + _bytes(space, t)) - peak) for t, peak in ideal)
        return max(plan.arena_bytes(t) / peak for t, peak in ideal), beyond


def lifetimes(plan: CallPlan) -> dict[int, Span]:
    """Buffer -> (first call, last call) that it must be there for, inclusive."""
    spans: dict[int, Span] = {}
    end = len(plan.calls) - 1
    for step, call in enumerate(plan.calls):
        for place in call.places:
            if isinstance(place, Slot):
                first, _ = spans.get(place.buffer, (step, step))
                spans[place.buffer] = (first, step)
    for index in plan.outputs:
        spans[index] = (spans.get(index, (0, 0))[0], end)
    return spans | dict.fromkeys(plan.inputs, (0, end))


def _bytes(workspace: Workspace, threads: int) -> int:
    return workspace.once + threads * workspace.per_thread
