"""The register tile of convolutions and of Winograd's products: `rows` elements times `vectors` vectors of weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from edgecls.backends.tvm.blocked import neon
from edgecls.backends.tvm.blocked.turn import NEIGHBOURS, Columns, Turn, products
from edgecls.types import Cpu

# blocks of input channels, times columns of the kernel, that NEON code writes out between two jumps
STRAIGHT_LINE = 4

# instructions around a loop's body, and around a tile's sums
_LOOP, _TILE = 2, 30


@dataclass(frozen=True)
class Part:
    """`count` groups of `vectors` vectors of output channels, the first being vector number `first`."""

    first: int
    vectors: int
    count: int


def parts(co: int, lanes: int, vectors: int) -> list[Part]:
    """All output channels: groups of `vectors` vectors and what is left. One vector would use few of the loaded
    elements' registers: it shares with a group before it where both halves come out equal."""
    whole, left = divmod(-(-co // lanes), vectors)
    if whole and left and (vectors + left) % 2 == 0:
        half = (vectors + left) // 2
        found = [Part(0, vectors, whole - 1), Part((whole - 1) * vectors, half, 2)]
    else:
        found = [Part(0, vectors, whole), Part(whole * vectors, left, 1)]
    return [part for part in found if part.count and part.vectors]


def pieces(extent: int, size: int) -> list[tuple[int, int, int]]:
    """(how many, first, size): `extent` as pieces of `size` and one of what is left."""
    whole, rest = divmod(extent, size)
    return ([(whole, 0, size)] if whole else []) + ([(1, whole * size, rest)] if rest else [])


def product_vectors(co: int, cpu: Cpu) -> range:
    """Worth trying. On x86 a multiplication by a broadcast from memory costs nothing extra: one vector of weights
    serves many rows, and these fill the registers."""
    blocks = -(-co // (cpu.vector_bits // 32))
    return range(1, 2) if cpu.arch == "x86_64" else range(1, min(5, blocks) + 1)


def memory_bytes_per_cycle(cpu: Cpu) -> float:
    """Weights come from memory each time. Per cycle of one core, of the order of its architecture: a Raspberry
    Pi 4 copies some 5 GB/s, desktop cores stream 20 and more."""
    return 8.0 if cpu.arch == "x86_64" else 4.0


def product_rows(vectors: int, cpu: Cpu) -> int:
    """Most rows whose sums fit, with what they are made of, into registers."""
    if cpu.arch == "x86_64":
        return max(1, min(cpu.vector_registers - 4, 28) // vectors)
    return max(1, (cpu.vector_registers - 3) // (vectors + 1))


def product_cost(co: int, rows: Sequence[int], vectors: int, cpu: Cpu, depth: int,
                 columns: Columns = NEIGHBOURS) -> float:
    """Cycles or instructions, whichever is scarce, of tiles with these rows for all output channels.

    depth: vectors of input channels, times taps, that go into every sum. x86: FMAs, each with a load, and the loads of
    the weights. ARM: the instructions of a turn; the loop around them; for each tile its sums set, finished and stored.
    Too few sums to hide the latency of the FMA count as if they were enough.
    """
    total = 0.0
    lanes = cpu.vector_bits // 32
    for part in parts(co, lanes, vectors):
        for r in rows:
            sums = r * part.vectors
            hidden = max(sums, cpu.fma_latency * cpu.fma_pipes)
            if cpu.arch == "x86_64":
                tile = depth * lanes * (max(hidden / cpu.fma_pipes, (sums + part.vectors) / cpu.load_ports)
                                        + part.vectors / 4)
            else:
                each = _instructions(r, part.vectors, lanes, columns) + lanes * (hidden - sums) / 4
                tile = depth * (each + _LOOP / STRAIGHT_LINE) + 2.5 * sums + _TILE
            total += part.count * tile
    return total


@functools.cache
def _instructions(rows: int, vectors: int, lanes: int, columns: Columns) -> float:
    """For one column of a kernel and one vector of input channels; those of AArch64, which armv7's resemble."""
    found = products(columns, [tuple(range(rows))] * columns.count, lanes, vectors, lanes)
    planes = lanes if columns.planar else 1
    return neon.instructions(Turn(rows, vectors, found, 0, 0)) * planes / columns.count
