"""What lives at the same time never shares bytes, whatever the plan and the number of threads."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgecls.backends.tvm.align import align
from edgecls.backends.tvm.call_plan import Argument, Call, CallPlan, Slot, Weight, Workspace
from edgecls.backends.tvm.memory_plan import MemoryPlan, lifetimes, plan_memory

Planned = tuple[CallPlan, dict[str, Workspace]]
THREADS = (1, 2, 3, 5, 8, 64)


@st.composite
def plans(draw: st.DrawFn, most: int = 12, scratch: bool = True) -> Planned:
    """Calls that read earlier buffers and write one or two new ones, or one that they read (in place); what the last
    call writes are the outputs."""
    sizes = [draw(st.integers(0, 5000)) for _ in range(draw(st.integers(1, 3)))]
    inputs = tuple(range(len(sizes)))
    calls, dead, workspaces = [], set(inputs), {}
    for step in range(draw(st.integers(1, most))):
        alive = [b for b in range(len(sizes)) if b not in dead or b in inputs]
        read = draw(st.lists(st.sampled_from(alive), min_size=1, max_size=3))
        over = [b for b in read if b not in inputs]
        if over and draw(st.booleans()):
            written = [over[0]]
        else:
            written = [len(sizes) + i for i in range(draw(st.integers(1, 2)))]
            sizes += [draw(st.integers(0, 5000)) for _ in written]
        dead.update(b for b in read if b not in written and draw(st.booleans()))
        places = (*map(Slot, read), Weight(64), *map(Slot, written))
        calls.append(Call(kernel=f"k{step}", places=places, outputs=len(written), nodes=()))
        if scratch and draw(st.booleans()):
            workspaces[f"k{step}"] = Workspace(once=64 * draw(st.integers(0, 30)),
                                               per_thread=64 * draw(st.integers(0, 30)))
    outputs = tuple({p.buffer for p in calls[-1].places[-calls[-1].outputs:] if isinstance(p, Slot)})
    arguments = {call.kernel: (Argument((1,), "float32"),) for call in calls}
    return CallPlan(batch=1, calls=tuple(calls), arguments=arguments, buffers=tuple(sizes), inputs=inputs,
                    outputs=outputs), workspaces


@settings(max_examples=30, deadline=None)
@given(plans(), st.sampled_from(THREADS))
def test_an_invoke_never_overwrites_what_is_still_needed(planned: Planned, threads: int) -> None:
    """Execute the plan on bytes: each call spoils its workspaces, and finds in what it reads what was last written."""
    plan, workspaces = planned
    memory = plan_memory(plan, workspaces)
    owner: list[object] = [None] * memory.arena_bytes(threads)

    def span(buffer: int) -> range:
        offset = memory.offsets[buffer]
        assert offset % 64 == 0
        assert offset + plan.buffers[buffer] <= memory.arena_bytes()
        return range(offset, offset + plan.buffers[buffer])

    def write(places: range, what: object) -> None:
        for i in places:
            assert 0 <= i < len(owner)
            owner[i] = what

    def holds(buffer: int, version: int) -> bool:
        return all(owner[i] == (buffer, version) for i in span(buffer))

    versions = dict.fromkeys(range(len(plan.buffers)), 0)
    for buffer in plan.inputs:
        write(span(buffer), (buffer, 0))
    for step, call in enumerate(plan.calls):
        slots = [p.buffer for p in call.places if isinstance(p, Slot)]
        read, written = slots[:-call.outputs], slots[-call.outputs:]
        space = workspaces.get(call.kernel, Workspace())
        start = memory.scratch[step]
        assert start % 64 == 0
        write(range(start, start + space.once + threads * space.per_thread), f"scratch of {call.kernel}")
        for buffer in written:
            if buffer not in read:
                write(span(buffer), (buffer, versions[buffer]))
        for buffer in read:  # after the writes: outputs may not land on their own operands, unless they are the same
            assert holds(buffer, versions[buffer])
        for buffer in set(written) & set(read):
            versions[buffer] += 1
            write(span(buffer), (buffer, versions[buffer]))
    for buffer in (*plan.inputs, *plan.outputs):
        assert holds(buffer, versions[buffer])


@settings(max_examples=30, deadline=None)
@given(plans())
def test_the_arena_is_no_smaller_than_the_peak_and_no_larger_than_everything(planned: Planned) -> None:
    plan, workspaces = planned
    memory = plan_memory(plan, workspaces)
    spaces = [workspaces.get(c.kernel, Workspace()) for c in plan.calls]
    for threads in THREADS:
        most = max(w.once + threads * w.per_thread for w in spaces)
        assert memory.peak_bytes(threads) <= memory.arena_bytes(threads)
        assert memory.arena_bytes(threads) <= sum(align(max(b, 1)) for b in plan.buffers) + most
    assert memory == plan_memory(plan, workspaces)


@settings(max_examples=30, deadline=None)
@given(plans(most=4, scratch=False))
def test_small_plans_are_as_good_as_the_best_of_all(planned: Planned) -> None:
    """First fit in some order of the buffers gives the smallest arena there is: by offset in that arena. Trying every
    order finds it."""
    plan, _ = planned
    memory = plan_memory(plan, {})
    if len(lifetimes(plan)) <= 6:
        assert memory.arena_bytes() <= 1.10 * _smallest(plan)


def _smallest(plan: CallPlan) -> int:
    spans = lifetimes(plan)
    best = sum(align(max(b, 1)) for b in plan.buffers)
    for order in permutations(spans):
        placed: list[tuple[int, int, int]] = []
        for buffer in order:
            size, offset = align(max(plan.buffers[buffer], 1)), 0
            for other, start, end in sorted(placed, key=lambda p: p[1]):
                meet = spans[other][0] <= spans[buffer][1] and spans[buffer][0] <= spans[other][1]
                if meet and start < offset + size and offset < end:
                    offset = end
            placed.append((buffer, offset, offset + size))
        best = min(best, max(end for _, _, end in placed))
    return best


def chain(sizes: list[int], spaces: dict[int, Workspace]) -> tuple[CallPlan, MemoryPlan]:
    """sizes[0] is the input; each call reads the buffer before and writes the next."""
    calls = tuple(Call(kernel=f"k{i}", places=(Slot(i), Slot(i + 1)), outputs=1, nodes=())
                  for i in range(len(sizes) - 1))
    plan = CallPlan(batch=1, calls=calls, arguments={}, buffers=tuple(sizes), inputs=(0,), outputs=(len(sizes) - 1,))
    return plan, plan_memory(plan, {f"k{i}": w for i, w in spaces.items()})


def test_workspaces_use_what_other_calls_left() -> None:
    _, memory = chain([64, 6400, 6400, 640, 640, 64], {3: Workspace(once=0, per_thread=3200)})
    assert [memory.arena_bytes(t) for t in (1, 2, 3, 4)] == [12864, 12864, 12864, 64 + 1280 + 4 * 3200]
    assert [memory.peak_bytes(t) for t in (1, 4)] == [12864, 64 + 1280 + 4 * 3200]
