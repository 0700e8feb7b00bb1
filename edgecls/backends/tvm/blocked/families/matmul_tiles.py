"""The register tiles of products of two computed tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.blocked.families.product import STRAIGHT_LINE, pieces
from edgecls.backends.tvm.blocked.multiply import multiply
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.turn import Product, Turn
from edgecls.backends.tvm.blocked.window import balanced


@dataclass(frozen=True)
class Factor:
    """Which of its matrices go into which products. extents: how many of these there are along each outer dimension,
    and how many matrices this factor has there: as many, or one for all."""

    extents: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        return math.prod(own for _, own in self.extents)

    def at(self, simd: Simd, product: Expr) -> Expr:
        """The number of the matrix that goes into this product."""
        if all(own == extent for extent, own in self.extents):
            return product
        found: Expr = 0
        for index, (extent, own) in zip(simd.divide(product, [extent for extent, _ in self.extents]), self.extents,
                                        strict=True):
            found = found * own + (index if own == extent else 0)
        return found


@dataclass(frozen=True)
class Matrices:
    """Products of (rows, inner) and (inner, columns)."""

    rows: int
    inner: int
    columns: int
    first: Factor
    second: Factor

    @staticmethod
    def of(first: Sequence[int], second: Sequence[int]) -> Matrices:
        """The factors' shapes, of two dimensions and more. Outer ones are those of numpy's matmul."""
        most = max(len(first), len(second)) - 2
        outer = [(1,) * (most + 2 - len(shape)) + tuple(shape[:-2]) for shape in (first, second)]
        extents = [max(pair) for pair in zip(*outer, strict=True)]
        return Matrices(first[-2], first[-1], second[-1],
                        *(Factor(tuple(zip(extents, own, strict=True))) for own in outer))

    @property
    def count(self) -> int:
        return math.prod(extent for extent, _ in self.first.extents)

    @property
    def multiply_adds(self) -> int:
        return self.count * self.rows * self.inner * self.columns

    def parameters(self, simd: Simd) -> tuple[Any, Any, Any]:
        """First factor, packed second, output."""
        vectors = -(-self.columns // simd.lanes)
        return (simd.parameter("data", self.first.count * self.rows * self.inner),
                simd.parameter("packed", self.second.count * vectors * self.inner * simd.lanes),
                simd.parameter("out", self.count * self.rows * self.columns))


@dataclass(frozen=True)
class Tiles:
    """rows: of one task. tile: of registers, rows x vectors. chunk: elements of a row that all of a task's go through
    together; 0: all."""

    rows: int
    tile: tuple[int, int]
    chunk: int = 0


@dataclass(frozen=True)
class Rows:
    """Of a task: lane k of vector b of row r is at `start + r * row + b * block + k`."""

    buffer: Any
    start: Expr
    row: int
    block: int


def copied(simd: Simd, data: Any, first: Expr, size: int, inner: int) -> Rows:
    lanes = simd.lanes
    own = simd.scratch("rows", size * -(-inner // lanes) * lanes)
    for many, begin, width in pieces(inner, lanes):
        with simd.loop(size) as r, simd.loop(many) as block:
            copy(simd, data, (first + r) * inner + begin + block * lanes, own,
                  ((begin // lanes + block) * size + r) * lanes, width)
    return Rows(own, 0, lanes, size * lanes)


def multiply_rows(simd: Simd, sums: list[list[Any]], own: Rows, row: Expr, count: int, packed: Any, place: Expr,
                  between: int) -> None:
    """Add the products of `count` elements of each row. place: of the first vector of weights; between: floats from
    one column of vectors to the next."""
    lanes, rows, vectors = simd.lanes, len(sums), len(sums[0])

    def turns(turns: int, units: int, block: int, channels: int) -> None:
        found = tuple(Product(k * lanes, tuple((r, r * own.row, k) for r in range(rows))) for k in range(channels))
        turn = Turn(rows, vectors, found, own.block, lanes * lanes, between, units)
        multiply(simd, turn, turns, sums, own.buffer, simd.bind(own.start + row * own.row + block * own.block), packed,
                 simd.bind(place + block * lanes * lanes))

    whole, rest = divmod(count, lanes)
    for number, start, units in pieces(whole, STRAIGHT_LINE):
        turns(number, units, start, lanes)
    if rest:
        turns(1, 1, whole, rest)


def store(simd: Simd, sums: Sequence[Sequence[Any]], out: Any, place: Expr, columns: int, last: int) -> None:
    """last: lanes of the last vector, 0 if it is whole."""
    for r, own in enumerate(sums):
        for v, value in enumerate(own):
            at = place + (r * columns + v * simd.lanes)
            simd.store_first(out, at, simd.value(value), last if last and v == len(own) - 1 else simd.lanes)


def parts(simd: Simd, rows: int, most: int) -> Iterator[tuple[Expr, int]]:
    """First row and number of rows of each tile."""
    sizes, start = balanced(rows, most), 0
    for size in dict.fromkeys(sizes):
        with simd.loop(sizes.count(size), rolled=True) as step:
            yield simd.bind(start + step * size), size
        start += size * sizes.count(size)


def groups(vectors: int, most: int, alone: bool) -> list[tuple[int, int, int]]:
    """(how many, first, size) of the tiles in a row. alone: the last stands for itself, as part of it is not stored."""
    *found, (count, start, size) = pieces(vectors, most)
    if alone and count > 1:
        return [*found, (count - 1, start, size), (1, start + (count - 1) * size, size)]
    return [*found, (count, start, size)]


def copy(simd: Simd, data: Any, source: Expr, to: Any, place: Expr, width: int) -> None:
    """One vector, zeros behind its first `width` lanes."""
    if width == simd.lanes:
        simd.store(to, place, simd.load(data, source))
        return
    for lane in range(simd.lanes):
        value = simd.load(data, source + lane, 1) if lane < width else simd.tir.FloatImm("float32", 0.0)
        simd.store(to, place + lane, value, 1)
