"""What every schedule starts from: element-wise blocks inlined where that repeats no work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.environment import import_tvm


@dataclass(frozen=True)
class Block:
    """One loop nest. name: unique in its function. rv: handle in the schedule. spatial, reduction: extents."""

    name: str
    rv: Any
    node: Any
    spatial: tuple[int, ...]
    reduction: tuple[int, ...]

    @property
    def multiplies(self) -> bool:
        """Reduces over a product of two tensors."""
        return bool(self.reduction) and _multiplies(self.node)

    @property
    def columns(self) -> int | None:
        """Position in `spatial` of the axis that becomes the vector: one along which every operand is contiguous or
        stays the same, first of all the output channels of packed weights; else the innermost that is not 1."""
        wide = [i for i, extent in enumerate(self.spatial) if extent > 1]
        contiguous = [i for i in wide if all(_walks(r, self._axis(i)) for r in self.node.reads)]
        whole = [i for i in contiguous if self.spatial[i] % 4 == 0]
        return next(iter(whole or contiguous[-1:] or wide[-1:]), None)

    @property
    def rows(self) -> int | None:
        """Position in `spatial` of the axis to unroll: the innermost along which the vector operand stays the same,
        so that each loaded vector is used once per row; else the innermost beside the columns."""
        if self.columns is None:
            return None
        others = [i for i in reversed(range(len(self.spatial))) if self.spatial[i] > 1 and i != self.columns]
        vectors = [r for r in self.node.reads if _depends(r.region, self._axis(self.columns))]
        shared = [i for i in others if not any(_depends(r.region, self._axis(i)) for r in vectors)]
        return next(iter(shared or others), None)

    def _axis(self, position: int) -> Any:
        return [v.var for v in self.node.iter_vars if v.iter_type == 0][position]

    @property
    def work(self) -> int:
        return math.prod(self.spatial) * math.prod(self.reduction)


def prepare(function: Any) -> Any:
    """A Schedule of `function` with inlining done."""
    import_tvm()
    from tvm.s_tir import Schedule

    schedule = Schedule(function)
    for block in blocks(schedule):
        if not block.reduction and _worth_inlining(schedule, block):
            # an output, or a block whose shape does not allow it, stays
            try_schedule(lambda rv=block.rv: schedule.compute_inline(rv))
    return schedule


def blocks(schedule: Any) -> list[Block]:
    """All loop nests, in execution order."""
    try:
        root = schedule.get_sblock("root")
    except schedule_error():
        return []  # written without blocks (scatter): it runs as it is
    found = []
    for rv in schedule.get_child_blocks(root):
        node = schedule.get(rv)
        found.append(Block(
            name=node.name_hint, rv=rv, node=node,
            spatial=tuple(int(v.dom.extent) for v in node.iter_vars if v.iter_type == 0),
            reduction=tuple(int(v.dom.extent) for v in node.iter_vars if v.iter_type == 2)))
    return found


def try_schedule(step: Any) -> bool:
    """Run a schedule primitive; False, with the schedule unchanged, when its conditions do not hold."""
    try:
        step()
    except schedule_error():
        return False
    return True


def schedule_error() -> type[Exception]:
    import_tvm()
    from tvm.s_tir import ScheduleError

    error: type[Exception] = ScheduleError
    return error


def _worth_inlining(schedule: Any, block: Block) -> bool:
    consumers = [schedule.get(c) for c in schedule.get_consumers(block.rv)]
    if not _is_copy(block) and _times_read(block, consumers) > 1:
        return False  # the expression would be computed, and written out, once per reader: chains double each time
    reducing = [c for c in consumers if any(v.iter_type == 2 for v in c.iter_vars)]
    if not reducing:
        return True
    return len(consumers) == 1 and (_is_copy(block) or not _multiplies(reducing[0]))


def _times_read(block: Block, consumers: list[Any]) -> int:
    import_tvm()
    import tvm_ffi
    from tvm.ir import TensorLoad

    written, loads = block.node.writes[0].source, []
    for consumer in consumers:
        tvm_ffi.structural_walk(consumer.body, [(TensorLoad, lambda load: loads.append(load.source.same_as(written)))])
    return sum(loads)


def _is_copy(block: Block) -> bool:
    tvm = import_tvm()
    return isinstance(block.node.body, tvm.tirx.BufferStore) and isinstance(block.node.body.value, tvm.ir.TensorLoad)


def _multiplies(node: Any) -> bool:
    return len({hash(r.source) for r in node.reads} - {hash(node.writes[0].source)}) > 1


def _walks(region: Any, variable: Any) -> bool:
    """Moving along the variable stays at one place of the tensor or moves in its last dimension only."""
    return not _depends(region.region[:-1], variable)


def _depends(ranges: Any, variable: Any) -> bool:
    tvm = import_tvm()
    used = [v for r in ranges for v in tvm.tirx.analysis.undefined_vars(r.min)]
    return any(v.same_as(variable) for v in used)
