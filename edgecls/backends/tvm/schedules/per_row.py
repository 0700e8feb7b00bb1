"""Element-wise blocks and leftovers: rows in parallel, the innermost loop as vectors."""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.schedules.prepare import Block

_LANES = 16


def per_row(schedule: Any, block: Block) -> None:
    """Loops of `block` -> parallel(outer) x [vector]. A reduction keeps its own order inside each output."""
    loops = schedule.get_loops(block.rv)
    extents = [int(schedule.get(loop).extent) for loop in loops]
    kinds = [v.iter_type for v in schedule.get(block.rv).iter_vars]
    outer = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == 0]
    if len(loops) != len(kinds) or kinds[: len(outer)] != [0] * len(outer) or not outer:
        return
    if not block.reduction and not _branches(block):
        while len(outer) > 1 and extents[len(outer) - 1] == 1:
            outer.pop()
        extent = extents[len(outer) - 1]
        width = max(d for d in range(1, min(_LANES, extent) + 1) if extent % d == 0)
        if width > 1:
            head, tail = schedule.split(outer.pop(), [None, width])
            schedule.vectorize(tail)
            outer.append(head)
    schedule.parallel(schedule.fuse(*outer) if len(outer) > 1 else outer[0])


def _branches(block: Block) -> bool:
    """A condition inside (padding): as a vector it would be taken apart into scalars again."""
    return "if_then_else" in str(block.node.body)
