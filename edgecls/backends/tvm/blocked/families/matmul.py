"""Products of two tensors that are both computed, (..., M, K) x (..., K, N), where they are no attention.

    packed     the second factor in vectors of neighbouring columns: [matrix][vector][k][lane]
    product    some rows of the first at a time times all of these vectors

x86 broadcasts elements of the rows from where they are. NEON loads them as vectors, and has the rows of a task copied
as [vector of k][row][lane], zeros behind the last. A long K goes by chunks (deep_matmul.py).

Both factors and the result lie as the network has them, row by row: what stands around such a product is TVM's.
"""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.blocked.families import deep_matmul
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.matmul_tiles import (
    Matrices,
    Rows,
    Tiles,
    copied,
    copy,
    groups,
    multiply_rows,
    parts,
    store,
)
from edgecls.backends.tvm.blocked.families.product import pieces, product_cost, product_rows, product_vectors
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.backends.tvm.blocked.window import balanced
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Cpu


def decide(matrices: Matrices, cpu: Cpu) -> Tiles:
    """A task's rows stay in the first cache; its register tile is the cheapest."""
    lanes = cpu.vector_bits // 32
    depth = -(-matrices.inner // lanes)
    most, vectors = min(
        ((most, vectors) for vectors in product_vectors(matrices.columns, cpu, far=True)
         for most in range(1, product_rows(vectors, cpu) + 1)),
        key=lambda tile: product_cost(matrices.columns, balanced(matrices.rows, tile[0]), tile[1], cpu, depth,
                                      far=float(cpu.arch == "x86_64")))
    if chunk := deep_matmul.chunk(matrices, (most, vectors), cpu):
        return Tiles(deep_matmul.rows((most, vectors), cpu), (most, vectors), chunk)
    return Tiles(most * max(1, cpu.cache.l1d // 2 // (depth * lanes * 4) // most), (most, vectors))


def emit_packed(simd: Simd, matrices: Matrices) -> Any:
    """Parameters: second factor, output."""
    lanes, inner, columns, own = simd.lanes, matrices.inner, matrices.columns, matrices.second.count
    vectors = -(-columns // lanes)
    data = simd.parameter("data", own * inner * columns)
    out = simd.parameter("out", own * vectors * inner * lanes)
    for count, start, width in pieces(columns, lanes):
        with simd.loop(own * count, parallel=True) as task:
            matrix, vector = simd.divide(task, (own, count))
            source = simd.bind(matrix * (inner * columns) + start + vector * lanes)
            place = simd.bind((matrix * vectors + start // lanes + vector) * (inner * lanes))
            with simd.loop(inner) as k:
                copy(simd, data, source + k * columns, out, place + k * lanes, width)
    return simd.function([data, out])


def emit(simd: Simd, matrices: Matrices, tiles: Tiles) -> Any:
    """Parameters: first factor, packed second, output."""
    if tiles.chunk:
        return deep_matmul.emit(simd, matrices, tiles)
    lanes, inner, columns = simd.lanes, matrices.inner, matrices.columns
    vectors = -(-columns // lanes)
    data, packed, out = matrices.parameters(simd)
    sizes, start = balanced(matrices.rows, tiles.rows), 0
    for size in dict.fromkeys(sizes):
        count = sizes.count(size)
        with simd.loop(matrices.count * count, parallel=True) as task:
            matrix, step = simd.divide(task, (matrices.count, count))
            row_in_matrix = start + step * size
            first = simd.bind(matrix * matrices.rows + row_in_matrix)
            read = simd.bind(matrices.first.at(simd, matrix) * matrices.rows + row_in_matrix)
            second = simd.bind(matrices.second.at(simd, matrix))
            own = copied(simd, data, read, size, inner) if simd.by_element else Rows(data, read * inner, inner, lanes)
            for row, rows in parts(simd, size, tiles.tile[0]):
                for many, begin, width in groups(vectors, tiles.tile[1], columns % lanes > 0):
                    with simd.loop(many, rolled=True) as index:
                        vector = simd.bind(begin + index * width)
                        sums = [[simd.register(simd.number(0.0)) for _ in range(width)] for _ in range(rows)]
                        place = simd.bind((second * vectors + vector) * (inner * lanes))
                        multiply_rows(simd, sums, own, row, inner, packed, place, inner * lanes)
                        last = columns % lanes if begin + many * width == vectors and many == 1 else 0
                        store(simd, sums, out, simd.bind((first + row) * columns + vector * lanes), columns, last)
        start += size * count
    return simd.function([data, packed, out])


def plan(found: Group, tensors: Tensors) -> Plan:
    left, right = found.anchor.inputs
    first, second = found.anchor.factors
    matrices = Matrices.of(first, second)
    inner = matrices.inner
    tiles = decide(matrices, tensors.cpu)
    packed = tensors.call(Plan(
        "packed", Decision(algorithm="matmul", layout="packed", reason="columns in vectors"), (tensors.plain(right),),
        lambda simd, _: emit_packed(simd, matrices), (matrices,)),
        matrices.second.count * -(-matrices.columns // tensors.lanes) * tensors.lanes * inner, found)
    by_chunks = f", {tiles.chunk} of these at a time" if tiles.chunk else ""
    decision = Decision(algorithm="matmul", layout="rows", tile=tiles.tile, chunk=tiles.chunk,
                        reason=f"{matrices.count} products of {matrices.rows} x {inner} and {inner} x "
                               f"{matrices.columns}{by_chunks}")
    return Plan("matmul", decision, (tensors.plain(left), packed), lambda simd, _: emit(simd, matrices, tiles),
                (matrices, tiles), matrices.multiply_adds)
