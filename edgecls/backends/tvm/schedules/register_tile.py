"""A tile of the output stays in registers while the whole reduction runs over it.

Loops: parallel(tiles of the output) > reduction > rows (unrolled) > columns (one vector). The epilogue (bias, clip,
residual) reads the tile from registers. Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
(2008), section 4.2 is the idea's source; there is no packing here.
"""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.schedules.prepare import Block, blocks


def register_tile(schedule: Any, tile: tuple[int, int]) -> set[str]:
    """Schedule the heaviest reduction and its epilogue; names of the blocks that are done, empty if it cannot be."""
    main = max((b for b in blocks(schedule) if b.reduction), key=lambda b: b.work)
    consumers = schedule.get_consumers(main.rv)
    if not consumers:
        epilogue = schedule.cache_write(main.rv, 0, "local")
    elif len(consumers) == 1 and _same_space(schedule, main, consumers[0]):
        epilogue = consumers[0]
    else:
        return set()
    names = {main.name, schedule.get(epilogue).name_hint}
    loops = list(schedule.get_loops(epilogue))
    if main.columns is None or len(loops) != len(main.spatial):
        return set()
    rows, columns = tile
    loops[main.columns], column = schedule.split(loops[main.columns], [None, columns])
    inner = [column]
    if rows > 1 and main.rows is not None:
        loops[main.rows], row = schedule.split(loops[main.rows], [None, rows])
        inner.insert(0, row)
    schedule.reorder(*loops, *inner)
    schedule.compute_at(main.rv, loops[-1])
    schedule.set_scope(main.rv, 0, "local")
    if len(inner) > 1:
        schedule.unroll(inner[0])
    schedule.vectorize(inner[-1])
    # before the reduction is taken apart: its halves alone may not run in parallel
    outer = loops[:-1] or loops
    schedule.parallel(schedule.fuse(*outer) if len(outer) > 1 else outer[0])
    _order_reduction(schedule, main, depth=2 if len(loops) > 1 else 1)
    return names


def _same_space(schedule: Any, main: Block, consumer: Any) -> bool:
    """The consumer is the output and walks the same index space as the reduction's result."""
    node = schedule.get(consumer)
    return (not schedule.get_consumers(consumer)
            and tuple(int(v.dom.extent) for v in node.iter_vars) == main.spatial)


def _order_reduction(schedule: Any, main: Block, depth: int) -> None:
    """Inside the tile: reduction loops outside, then rows, then the columns as a vector."""
    # compute_at drops loops of extent 1 and puts the tile's loops, in the block's order, before the reduction's
    loops = list(schedule.get_loops(main.rv)[depth:])
    count = sum(extent > 1 for extent in main.reduction)
    tile, reduction = loops[: len(loops) - count], loops[len(loops) - count :]
    if not reduction:
        return
    if len(tile) == 2 and main.rows is not None and main.columns is not None and main.columns < main.rows:
        tile.reverse()
    schedule.reorder(*reduction, *tile)
    if tile:
        schedule.vectorize(tile[-1])
    for loop in tile[:-1]:
        schedule.unroll(loop)
    schedule.decompose_reduction(main.rv, reduction[0])
