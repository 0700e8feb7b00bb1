"""A TIR function in numbers, for whoever decides its schedule."""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.environment import import_tvm
from edgecls.backends.tvm.schedule import Family, Workload
from edgecls.backends.tvm.schedules.prepare import Block, blocks, prepare


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
        reuse=main is not None and _reuses(main), flops=sum(2 * b.work for b in reducing))


def _reuses(block: Block) -> bool:
    """Some operand does not change along the second innermost spatial loop that is not 1."""
    tvm = import_tvm()
    spatial = [v for v in block.node.iter_vars if v.iter_type == 0 and int(v.dom.extent) > 1]
    if len(spatial) < 2:
        return False
    row = spatial[-2].var
    return not all(_depends(region, row) for region in block.node.reads)


def _depends(region: Any, variable: Any) -> bool:
    tvm = import_tvm()
    used = [v for r in region.region for v in tvm.tirx.analysis.undefined_vars(r.min)]
    return any(v.same_as(variable) for v in used)
