"""Products of two tensors that are both computed, (..., M, K) x (..., K, N), where they are no attention.

    packed     the second factor in vectors of neighbouring columns: [matrix][vector][k][lane]
    product    some rows of the first at a time times all of these vectors

x86 broadcasts elements of the rows from where they are. NEON loads them as vectors, and has the rows of a task copied
as [vector of k][row][lane], zeros behind the last.

Both factors and the result lie as the network has them, row by row: what stands around such a product is TVM's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import (
    STRAIGHT_LINE,
    pieces,
    product_cost,
    product_rows,
    product_vectors,
)
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.multiply import multiply
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.turn import Product, Turn
from edgecls.backends.tvm.blocked.window import balanced
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Cpu


@dataclass(frozen=True)
class Matrices:
    """(count, rows, inner) x (count, inner, columns)."""

    count: int
    rows: int
    inner: int
    columns: int

    @property
    def multiply_adds(self) -> int:
        return self.count * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class Tiles:
    """rows: of one task. tile: of registers, rows x vectors."""

    rows: int
    tile: tuple[int, int]


@dataclass(frozen=True)
class Rows:
    """Of a task: lane k of vector b of row r is at `start + r * row + b * block + k`."""

    buffer: Any
    start: Expr
    row: int
    block: int


def decide(matrices: Matrices, cpu: Cpu) -> Tiles:
    """A task's rows stay in the first cache; its register tile is the cheapest."""
    lanes = cpu.vector_bits // 32
    depth = -(-matrices.inner // lanes)
    most, vectors = min(
        ((most, vectors) for vectors in product_vectors(matrices.columns, cpu, far=True)
         for most in range(1, product_rows(vectors, cpu) + 1)),
        key=lambda tile: product_cost(matrices.columns, balanced(matrices.rows, tile[0]), tile[1], cpu, depth,
                                      far=float(cpu.arch == "x86_64")))
    return Tiles(most * max(1, cpu.cache.l1d // 2 // (depth * lanes * 4) // most), (most, vectors))


def emit_packed(simd: Simd, matrices: Matrices) -> Any:
    """Parameters: second factor, output."""
    lanes, inner, columns = simd.lanes, matrices.inner, matrices.columns
    vectors = -(-columns // lanes)
    data = simd.parameter("data", matrices.count * inner * columns)
    out = simd.parameter("out", matrices.count * vectors * inner * lanes)
    for count, start, width in pieces(columns, lanes):
        with simd.loop(matrices.count * count, parallel=True) as task:
            matrix, vector = simd.divide(task, (matrices.count, count))
            source = simd.bind(matrix * (inner * columns) + start + vector * lanes)
            place = simd.bind((matrix * vectors + start // lanes + vector) * (inner * lanes))
            with simd.loop(inner) as k:
                _copy(simd, data, source + k * columns, out, place + k * lanes, width)
    return simd.function([data, out])


def emit(simd: Simd, matrices: Matrices, tiles: Tiles) -> Any:
    """Parameters: first factor, packed second, output."""
    lanes, inner, columns = simd.lanes, matrices.inner, matrices.columns
    vectors = -(-columns // lanes)
    data = simd.parameter("data", matrices.count * matrices.rows * inner)
    packed = simd.parameter("packed", matrices.count * vectors * inner * lanes)
    out = simd.parameter("out", matrices.count * matrices.rows * columns)
    sizes, start = balanced(matrices.rows, tiles.rows), 0
    for size in dict.fromkeys(sizes):
        count = sizes.count(size)
        with simd.loop(matrices.count * count, parallel=True) as task:
            matrix, step = simd.divide(task, (matrices.count, count))
            first = simd.bind(matrix * matrices.rows + start + step * size)
            own = Rows(data, first * inner, inner, lanes)
            if simd.by_element:
                own = _copied(simd, data, first, size, inner)
            for row, rows in _parts(simd, size, tiles.tile[0]):
                for many, begin, width in _vectors(vectors, tiles.tile[1], columns % lanes > 0):
                    with simd.loop(many, rolled=True) as index:
                        vector = simd.bind(begin + index * width)
                        sums = [[simd.register(simd.number(0.0)) for _ in range(width)] for _ in range(rows)]
                        place = simd.bind((matrix * vectors + vector) * (inner * lanes))
                        _multiply(simd, sums, own, row, inner, packed, place)
                        last = columns % lanes if begin + many * width == vectors and many == 1 else 0
                        _store(simd, sums, out, simd.bind((first + row) * columns + vector * lanes), columns, last)
        start += size * count
    return simd.function([data, packed, out])


def _copied(simd: Simd, data: Any, first: Expr, size: int, inner: int) -> Rows:
    lanes = simd.lanes
    own = simd.scratch("rows", size * -(-inner // lanes) * lanes)
    for many, begin, width in pieces(inner, lanes):
        with simd.loop(size) as r, simd.loop(many) as block:
            _copy(simd, data, (first + r) * inner + begin + block * lanes, own,
                  ((begin // lanes + block) * size + r) * lanes, width)
    return Rows(own, 0, lanes, size * lanes)


def _multiply(simd: Simd, sums: list[list[Any]], own: Rows, row: Expr, inner: int, packed: Any, place: Expr) -> None:
    lanes, rows, vectors = simd.lanes, len(sums), len(sums[0])

    def turns(count: int, units: int, block: int, channels: int) -> None:
        found = tuple(Product(k * lanes, tuple((r, r * own.row, k) for r in range(rows))) for k in range(channels))
        turn = Turn(rows, vectors, found, own.block, lanes * lanes, inner * lanes, units)
        multiply(simd, turn, count, sums, own.buffer, simd.bind(own.start + row * own.row + block * own.block), packed,
                 simd.bind(place + block * lanes * lanes))

    whole, rest = divmod(inner, lanes)
    for count, start, units in pieces(whole, STRAIGHT_LINE):
        turns(count, units, start, lanes)
    if rest:
        turns(1, 1, whole, rest)


def _store(simd: Simd, sums: Sequence[Sequence[Any]], out: Any, place: Expr, columns: int, last: int) -> None:
    """last: lanes of the last vector, 0 if it is whole."""
    for r, own in enumerate(sums):
        for v, value in enumerate(own):
            at = place + (r * columns + v * simd.lanes)
            simd.store_first(out, at, simd.value(value), last if last and v == len(own) - 1 else simd.lanes)


def _parts(simd: Simd, rows: int, most: int) -> Iterator[tuple[Expr, int]]:
    """First row and number of rows of each tile."""
    sizes, start = balanced(rows, most), 0
    for size in dict.fromkeys(sizes):
        with simd.loop(sizes.count(size), rolled=True) as step:
            yield simd.bind(start + step * size), size
        start += size * sizes.count(size)


def _vectors(vectors: int, most: int, alone: bool) -> list[tuple[int, int, int]]:
    """(how many, first, size) of the tiles in a row. alone: the last stands for itself, as part of it is not stored."""
    *found, (count, start, size) = pieces(vectors, most)
    if alone and count > 1:
        return [*found, (count - 1, start, size), (1, start + (count - 1) * size, size)]
    return [*found, (count, start, size)]


def _copy(simd: Simd, data: Any, source: Expr, to: Any, place: Expr, width: int) -> None:
    """One vector, zeros behind its first `width` lanes."""
    if width == simd.lanes:
        simd.store(to, place, simd.load(data, source))
        return
    for lane in range(simd.lanes):
        value = simd.load(data, source + lane, 1) if lane < width else simd.tir.FloatImm("float32", 0.0)
        simd.store(to, place + lane, value, 1)


def plan(found: Group, tensors: Tensors) -> Plan:
    left, right = found.anchor.inputs
    *outer, rows, columns = found.anchor.shape
    inner = found.anchor.inner
    matrices = Matrices(math.prod(outer), rows, inner, columns)
    tiles = decide(matrices, tensors.cpu)
    packed = tensors.call(Plan(
        "packed", Decision(algorithm="matmul", layout="packed", reason="columns in vectors"), (tensors.plain(right),),
        lambda simd, _: emit_packed(simd, matrices), (matrices,)),
        matrices.count * -(-columns // tensors.lanes) * tensors.lanes * inner, found)
    decision = Decision(algorithm="matmul", layout="rows", tile=tiles.tile,
                        reason=f"{matrices.count} products of {rows} x {inner} and {inner} x {columns}")
    return Plan("matmul", decision, (tensors.plain(left), packed), lambda simd, _: emit(simd, matrices, tiles),
                (matrices, tiles), matrices.multiply_adds)
