"""What the arena is made of, for `explain`: beside it stands what the network itself would need."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgecls.backends.tvm.align import align
from edgecls.backends.tvm.call_plan import CallPlan, Slot
from edgecls.backends.tvm.memory_plan import MemoryPlan, lifetimes
from edgecls.backends.tvm.schedule import Decision, Workload
from edgecls.types import PeakFacts, PlanFacts, ThreadFacts


def plan_facts(plan: CallPlan, memory: MemoryPlan, workloads: Mapping[str, Workload], decisions: Mapping[str, Decision],
               cores: int, first: int) -> PlanFacts:
    """cores: up to how many threads are listed. first: index of the plan's first row in layers[]."""
    tensors = _Tensors(plan, workloads, decisions)
    counts = sorted({*(1 << i for i in range(cores.bit_length())), cores})
    return PlanFacts(
        batch=plan.batch, calls=len(plan.calls), arena_bytes=memory.arena_bytes(), peak_bytes=memory.peak_bytes(),
        workspace_bytes_per_thread=memory.workspace_bytes, tensors_peak_bytes=tensors.peak(),
        peak=_peak(plan, memory, tensors, first),
        threads=tuple(ThreadFacts(threads=t, arena_bytes=memory.arena_bytes(t), peak_bytes=memory.peak_bytes(t))
                      for t in counts))


class _Tensors:
    """The network's tensors: a buffer that is overwritten in place holds several, one after the other; a conversion's
    result is its source in another form."""

    def __init__(self, plan: CallPlan, workloads: Mapping[str, Workload], decisions: Mapping[str, Decision]) -> None:
        self.plan = plan
        self.bytes = {Slot(b): plan.buffers[b] for b in plan.inputs}
        self.source: dict[Slot, Slot] = {}
        self.spans: dict[Slot, tuple[int, int]] = {}
        for step, call in enumerate(plan.calls):
            slots = [place for place in call.places if isinstance(place, Slot)]
            for slot in slots[len(slots) - call.outputs:]:
                if decisions[call.kernel].algorithm == "convert":
                    self.source[slot] = slots[0]
                    continue
                self.bytes[slot] = plan.buffers[slot.buffer]
                if decisions[call.kernel].layout != "NCHW":  # blocked: the workload has the tensor's own shape
                    self.bytes[slot] = min(self.bytes[slot], 4 * math.prod(workloads[call.kernel].shapes[0]))
            for tensor in map(self.origin, slots):
                self.spans[tensor] = (self.spans.get(tensor, (step, step))[0], step)
        for tensor in {self.origin(slot) for slot in self._results()}:
            self.spans[tensor] = (self.spans.get(tensor, (0, 0))[0], len(plan.calls) - 1)

    def origin(self, slot: Slot) -> Slot:
        while slot in self.source:
            slot = self.source[slot]
        return slot

    def _results(self) -> list[Slot]:
        """What the outputs' buffers hold in the end."""
        end = len(self.plan.calls) - 1
        return [slot for slot in _held(self.plan, end) if slot.buffer in self.plan.outputs]

    def peak(self) -> int:
        """Most that is alive at once; inputs from the start."""
        inputs = {Slot(b) for b in self.plan.inputs}
        return max(sum(self.bytes[slot] for slot, (first, last) in self.spans.items()
                       if (first <= step or slot in inputs) and step <= last) for step in range(len(self.plan.calls)))


def _peak(plan: CallPlan, memory: MemoryPlan, tensors: _Tensors, first: int) -> PeakFacts:
    needs = [live + w.once + w.per_thread for live, w in zip(memory.live, memory.workspaces, strict=True)]
    step = max(range(len(needs)), key=lambda s: (needs[s], -s))
    held = _held(plan, step)
    own = inputs = copies = padding = 0
    for slot in held:
        size = align(max(plan.buffers[slot.buffer], 1))
        if slot.buffer in plan.inputs and tensors.spans.get(slot, (0, -1))[1] < step:
            inputs += size
        elif tensors.origin(slot) != slot and tensors.origin(slot) in held:
            copies += size
        else:
            own += tensors.bytes[tensors.origin(slot)]
            padding += size - tensors.bytes[tensors.origin(slot)]
    workspace = memory.workspaces[step]
    return PeakFacts(layer=first + step, tensors=own, padding=padding, inputs=inputs, copies=copies,
                     workspaces=workspace.once + workspace.per_thread, gaps=memory.arena_bytes() - needs[step])


def _held(plan: CallPlan, step: int) -> set[Slot]:
    """What the buffers that are alive at a call hold when it has run."""
    held = {b: Slot(b) for b, (begin, end) in lifetimes(plan).items() if begin <= step <= end}
    for call in plan.calls[: step + 1]:
        for place in call.places[len(call.places) - call.outputs:]:
            if isinstance(place, Slot) and place.buffer in held:
                held[place.buffer] = place
    return set(held.values())
