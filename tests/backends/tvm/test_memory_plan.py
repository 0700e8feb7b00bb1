"""Buffers that live at the same time never share bytes, whatever the plan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecls.backends.tvm.align import align
from edgecls.backends.tvm.call_plan import Argument, Call, CallPlan, Slot, Weight
from edgecls.backends.tvm.memory_plan import plan_memory


@st.composite
def plans(draw: st.DrawFn) -> CallPlan:
    """Calls that read any earlier buffers and write one or two new ones; the last ones are the outputs."""
    sizes = [draw(st.integers(0, 5000)) for _ in range(draw(st.integers(1, 3)))]
    inputs = tuple(range(len(sizes)))
    calls = []
    for _ in range(draw(st.integers(1, 12))):
        read = draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=3))
        written = draw(st.integers(1, 2))
        sizes += [draw(st.integers(0, 5000)) for _ in range(written)]
        places = (*map(Slot, read), Weight(64), *(Slot(len(sizes) - 1 - i) for i in range(written)))
        calls.append(Call(kernel="k", places=places, outputs=written, nodes=()))
    outputs = tuple({p.buffer for p in calls[-1].places[-calls[-1].outputs:] if isinstance(p, Slot)})
    return CallPlan(batch=1, calls=tuple(calls), arguments={"k": (Argument((1,), "float32"),)}, buffers=tuple(sizes),
                    inputs=inputs, outputs=outputs)


@given(plans())
def test_an_invoke_never_overwrites_what_is_still_needed(plan: CallPlan) -> None:
    """Execute the plan on bytes: each call checks that what it reads is what was last written there."""
    memory = plan_memory(plan)
    owner = [-1] * memory.arena_bytes

    def span(buffer: int) -> range:
        offset = memory.offsets[buffer]
        assert offset % 64 == 0
        assert offset + plan.buffers[buffer] <= memory.arena_bytes
        return range(offset, offset + plan.buffers[buffer])

    def write(buffer: int) -> None:
        for i in span(buffer):
            owner[i] = buffer

    for buffer in plan.inputs:
        write(buffer)
    for call in plan.calls:
        slots = [p.buffer for p in call.places if isinstance(p, Slot)]
        read, written = slots[:-call.outputs], slots[-call.outputs:]
        for buffer in written:
            write(buffer)
        for buffer in read:  # after the writes: outputs may not land on their own operands either
            assert all(owner[i] == buffer for i in span(buffer))
    for buffer in (*plan.inputs, *plan.outputs):
        assert all(owner[i] == buffer for i in span(buffer))


@given(plans())
def test_the_arena_is_no_smaller_than_the_peak_and_no_larger_than_the_sum(plan: CallPlan) -> None:
    memory = plan_memory(plan)
    assert memory.peak_bytes <= memory.arena_bytes <= sum(align(max(b, 1)) for b in plan.buffers)
