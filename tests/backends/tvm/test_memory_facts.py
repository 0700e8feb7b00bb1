"""What `explain` says of the arena: its parts add up, and the network's own tensors have the network's own sizes."""

from __future__ import annotations

import pytest

from edgecls.backends.tvm.call_plan import Call, CallPlan, Slot, Workspace
from edgecls.backends.tvm.memory_facts import plan_facts
from edgecls.backends.tvm.memory_plan import plan_memory
from edgecls.backends.tvm.schedule import Decision, Workload
from edgecls.types import Artifact
from tests.backends.tvm.conftest import Compile

BLOCKED = Decision(algorithm="direct", layout="NCHW4c")


def check_memory(artifact: Artifact) -> None:
    """The arena is all accounted for, and at most 1.10 of the liveness peak, however many threads there are."""
    for plan in artifact.manifest.plans:
        assert plan.peak is not None and plan.tensors_peak_bytes > 0
        parts = (plan.peak.tensors, plan.peak.padding, plan.peak.inputs, plan.peak.copies, plan.peak.workspaces,
                 plan.peak.gaps)
        assert min(parts) >= 0 and sum(parts) == plan.arena_bytes
        assert plan.threads[0].threads == 1 and plan.threads[0].arena_bytes == plan.arena_bytes
        for at in plan.threads:
            assert at.peak_bytes <= at.arena_bytes <= 1.10 * at.peak_bytes
            assert at.arena_bytes <= plan.arena_bytes + (at.threads - 1) * plan.workspace_bytes_per_thread


@pytest.mark.parametrize("target", ["raspberry-pi-4", "armv7", "native"])
def test_a_bundle_accounts_for_its_arena(target: str, compile_tvm: Compile) -> None:
    check_memory(compile_tvm("classifier", target))


def workload(kernel: str, *shape: int) -> Workload:
    return Workload(kernel=kernel, family="contraction", shapes=(shape,), spatial=(), reduction=(), columns=None,
                    rows=None, flops=0)


def test_the_parts_of_a_small_plan() -> None:
    """input 1x3x8x8 (768) > blocked copy (1024) > 1x5x8x8 (2048 of 1280) > the same in place > 1x5x1x1 (32 of 20)."""
    calls = (Call("block", (Slot(0), Slot(1)), 1, ()), Call("conv", (Slot(1), Slot(2)), 1, ()),
             Call("add", (Slot(2), Slot(2, 1)), 1, ()), Call("mean", (Slot(2, 1), Slot(3)), 1, ()))
    plan = CallPlan(batch=1, calls=calls, arguments={}, buffers=(768, 1024, 2048, 32), inputs=(0,), outputs=(3,))
    workloads = {"block": workload("block", 1, 3, 8, 8), "conv": workload("conv", 1, 5, 8, 8),
                 "add": workload("add", 1, 5, 8, 8), "mean": workload("mean", 1, 5, 1, 1)}
    decisions = dict.fromkeys(workloads, BLOCKED) | {"block": Decision(algorithm="convert", layout="NCHW4c")}
    memory = plan_memory(plan, {"conv": Workspace(once=64, per_thread=128), "mean": Workspace(per_thread=512)})
    facts = plan_facts(plan, memory, workloads, decisions, cores=3, first=10)
    assert [(t.threads, t.arena_bytes, t.peak_bytes) for t in facts.threads] == [
        (1, 4032, 4032), (2, 4160, 4160), (3, 4416, 4416)]
    assert facts.tensors_peak_bytes == 2 * 1280  # what is added and the sum
    assert facts.peak is not None
    peak = facts.peak
    assert (peak.layer, peak.tensors, peak.padding, peak.copies) == (11, 768 + 1280, 768, 1024)
    assert (peak.inputs, peak.workspaces, peak.gaps) == (0, 192, 0)
