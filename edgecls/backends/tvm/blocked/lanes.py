"""What vectors do with their own lanes: sums across, transpositions, and leaving lanes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgecls.backends.tvm.blocked.simd import Expr, Simd


def across(simd: Simd, value: Expr, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """All lanes combined, in every lane: each step combines lanes that lie half as far apart."""
    distance = simd.lanes // 2
    while distance:
        value = simd.bind(value)
        value = combine(value, simd.pick([value], [i ^ distance for i in range(simd.lanes)]))
        distance //= 2
    return simd.bind(value)


def transposed(simd: Simd, rows: Sequence[Expr]) -> list[Expr]:
    """`lanes` vectors -> the vectors of their first, second, ... lanes, in log2(lanes) steps of two-vector shuffles."""
    values, count = list(rows), simd.lanes
    distance = 1
    while distance < count:
        low = [i + (count if i & distance else 0) - (distance if i & distance else 0) for i in range(count)]
        high = [i + (count if i & distance else distance) for i in range(count)]
        for i in range(count):
            if not i & distance:
                pair = [values[i], values[i + distance]]
                values[i], values[i + distance] = (simd.pick(pair, p) for p in (low, high))
        distance *= 2
    return values


def only_first(simd: Simd, value: Expr, count: int, other: float) -> Expr:
    """The first `count` lanes, `other` in the rest, whatever is there."""
    ramp = simd.tir.Ramp(simd.tir.IntImm("int32", 0), simd.tir.IntImm("int32", 1), simd.lanes)
    limit = simd.tir.Broadcast(simd.tir.IntImm("int32", count), simd.lanes)
    return simd.tir.Select(ramp < limit, value, simd.number(other))
