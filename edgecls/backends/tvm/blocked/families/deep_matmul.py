"""Products of two computed tensors with a long inner side, a chunk of it at a time.

As in deep_product.py: all rows of a task go through one chunk, whose vectors of the second factor stay in the first
cache meanwhile. The sums wait in a workspace. (Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication", 2008, section 4.2.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.blocked.families.matmul_tiles import Matrices, Rows, Tiles, groups, multiply_rows, parts
from edgecls.backends.tvm.blocked.families.product import chunk_of, crowded
from edgecls.backends.tvm.blocked.multiply import assembly_of
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import balanced
from edgecls.types import Cpu

# fewer tiles use a chunk's vectors too seldom
_TILES = 3


def chunk(matrices: Matrices, tile: tuple[int, int], cpu: Cpu) -> int:
    """Elements in whole vectors; 0 where each tile should go through all of them at once: the second cache gives the
    second factor in time where it holds all of it."""
    (most, vectors), lanes = tile, cpu.vector_bits // 32
    blocks, block = -(-matrices.inner // lanes), lanes * vectors * lanes * 4
    second = blocks * lanes * -(-matrices.columns // lanes) * lanes * 4
    depth = chunk_of(blocks, block, cpu)
    if not (crowded(cpu) and assembly_of(cpu) == "avx" and second > cpu.cache.l2 and depth < blocks
            and -(-matrices.rows // most) >= _TILES):
        return 0
    return depth * lanes


def rows(tile: tuple[int, int], cpu: Cpu) -> int:
    """Of a task: whole tiles, whose sums fit beside a chunk."""
    most, vectors = tile
    return most * max(1, cpu.cache.l1d // 2 // (vectors * cpu.vector_bits // 8) // most)


def emit(simd: Simd, matrices: Matrices, tiles: Tiles) -> Any:
    """Parameters: first factor, packed second, output."""
    lanes, inner, columns = simd.lanes, matrices.inner, matrices.columns
    vectors = -(-columns // lanes)
    data, packed, out = matrices.parameters(simd)
    whole, rest = divmod(inner, lanes)
    depth = tiles.chunk // lanes
    sizes, start = balanced(matrices.rows, tiles.rows), 0
    for size in dict.fromkeys(sizes):
        count = sizes.count(size)
        for many, begin, width in groups(vectors, tiles.tile[1], columns % lanes > 0):
            last = columns % lanes if begin + many * width == vectors and many == 1 else 0
            with simd.loop(matrices.count * many * count, parallel=True) as task:
                matrix, group, step = simd.divide(task, (matrices.count, many, count))
                first, vector = start + step * size, simd.bind(begin + group * width)
                read = simd.bind((matrices.first.at(simd, matrix) * matrices.rows + first) * inner)
                place = simd.bind((matrices.second.at(simd, matrix) * vectors + vector) * (inner * lanes))
                own = _Task(simd, matrices, tiles, size, width, data, packed, read, place,
                                simd.scratch("sums", size * width * lanes))
                with simd.loop(size * width) as number:
                    simd.store(own.sums, number * lanes, simd.number(0.0))
                with simd.loop(whole // depth) as index:
                    own.add(index * depth, tiles.chunk)
                if left := whole % depth * lanes + rest:
                    own.add(whole - whole % depth, left)
                own.store(out, simd.bind((matrix * matrices.rows + first) * columns + vector * lanes), last)
        start += size * count
    return simd.function([data, packed, out])


@dataclass(frozen=True)
class _Task:
    """`size` rows times `width` vectors. read: where the rows begin; place: where the vectors do. sums:
    [row][vector]."""

    simd: Simd
    matrices: Matrices
    tiles: Tiles
    size: int
    width: int
    data: Any
    packed: Any
    read: Expr
    place: Expr
    sums: Any

    def add(self, block: Expr, elements: int) -> None:
        """What so many elements of each row add, from vector number `block` on."""
        simd, lanes, inner = self.simd, self.simd.lanes, self.matrices.inner
        own = Rows(self.data, simd.bind(self.read + block * lanes), inner, lanes)
        place = simd.bind(self.place + block * (lanes * lanes))
        for row, rows in parts(simd, self.size, self.tiles.tile[0]):
            places = [[((row + r) * self.width + v) * lanes for v in range(self.width)] for r in range(rows)]
            sums = [[simd.register(simd.load(self.sums, at)) for at in line] for line in places]
            multiply_rows(simd, sums, own, row, elements, self.packed, place, inner * lanes)
            for line, registers in zip(places, sums, strict=True):
                for at, register in zip(line, registers, strict=True):
                    simd.store(self.sums, at, simd.value(register))

    def store(self, out: Any, to: Expr, last: int) -> None:
        """last: lanes of the last vector, 0 if it is whole."""
        simd, lanes, width = self.simd, self.simd.lanes, self.width
        with simd.loop(self.size) as row:
            for v in range(width):
                value = simd.bind(simd.load(self.sums, (row * width + v) * lanes))
                simd.store_first(out, to + row * self.matrices.columns + v * lanes, value,
                                 last if last and v == width - 1 else lanes)
