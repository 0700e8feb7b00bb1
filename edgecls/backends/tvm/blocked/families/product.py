"""The register tile of convolutions and of Winograd's products: `rows` elements times `vectors` vectors of weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.blocked import neon
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.turn import NEIGHBOURS, Columns, Turn, products
from edgecls.backends.tvm.blocked.window import Window, balanced
from edgecls.types import Cpu

# blocks of input channels, times columns of the kernel, that NEON code writes out between two jumps
STRAIGHT_LINE = 4

# instructions around a loop's body, and around a tile's sums
_LOOP, _TILE = 2, 30
# cycles of x86 for a row's next block of elements, which no prefetcher foresees, where it comes from behind the first
# cache: Zen 4 keeps 90 % of its peak with 28 rows x 1 vector, 96 % with 14 x 2 and 97 % with 9 x 3
_LINE = 1.25


@dataclass(frozen=True)
class Part:
    """`count` groups of `vectors` vectors of output channels, the first being vector number `first`. half: the upper
    half of the last vector is padding, and is not computed."""

    first: int
    vectors: int
    count: int
    half: bool = False


@dataclass(frozen=True)
class Ahead:
    """Weights come from memory, and each group of outputs would wait for the first of its own: the tiles of the group
    before fetch them, some lines in every turn. line: in floats. turns: of one tile. group: floats of its weights."""

    lines: int
    line: int
    turns: int
    group: int

    @staticmethod
    def of(window: Window, part: Part, lanes: int, line: int, tiles: int) -> Ahead | None:
        """line: 0 where the processor does so by itself. tiles: of a group; None where these are so many that the
        first turns do not count."""
        kh, kw = window.kernel
        needed = kw * lanes * part.vectors * lanes // line if line else 0
        if needed < tiles:
            return None
        return Ahead(-(-needed // tiles), line, -(-window.ci // lanes) * kh, part.vectors * lanes * window.ci * kh * kw)

    def fetch(self, simd: Simd, weights: Any, group: Expr, tile: Expr, turn: Expr) -> None:
        """group: where the weights of this one begin."""
        place = simd.bind(group + self.group + (tile * self.turns + turn) * (self.lines * self.line))
        for number in range(self.lines):
            simd.fetch(weights, place + number * self.line)


def halves(cpu: Cpu) -> bool:
    """Whether half a vector takes half the time: where two narrower pipes, or halves of one, together multiply whole
    ones."""
    return cpu.arch == "x86_64" and cpu.fma_pipes == 1 and cpu.vector_bits > 128


def parts(co: int, lanes: int, vectors: int, half: bool = False) -> list[Part]:
    """All output channels: groups of `vectors` vectors and what is left. One vector would use few of the loaded
    elements' registers: it shares with a group before it where both halves come out equal. half: what fills no more
    than half of the last vector is computed as one half, in a group by itself."""
    whole, left = divmod(-(-co // lanes), vectors)
    if whole and left and (vectors + left) % 2 == 0:
        each = (vectors + left) // 2
        found = [Part(0, vectors, whole - 1), Part((whole - 1) * vectors, each, 2)]
    else:
        found = [Part(0, vectors, whole), Part(whole * vectors, left, 1)]
    found = [part for part in found if part.count and part.vectors]
    if half and 0 < co % lanes <= lanes // 2:
        last = found.pop()
        found += [Part(last.first, last.vectors, last.count - 1)] if last.count > 1 else []
        found.append(Part(last.first + (last.count - 1) * last.vectors, last.vectors, 1, half=True))
    return found


def pieces(extent: int, size: int) -> list[tuple[int, int, int]]:
    """(how many, first, size): `extent` as pieces of `size` and one of what is left."""
    whole, rest = divmod(extent, size)
    return ([(whole, 0, size)] if whole else []) + ([(1, whole * size, rest)] if rest else [])


def product_vectors(co: int, cpu: Cpu, far: bool = False) -> range:
    """Worth trying. On x86 a multiplication by a broadcast from memory costs nothing extra where one pipe multiplies:
    one vector of weights serves many rows, and these fill the registers. far: unless rows come from behind the first
    cache; of fewer rows less has to come at once."""
    blocks = -(-co // (cpu.vector_bits // 32))
    return range(1, min(5 if cpu.arch != "x86_64" else 4 if far or crowded(cpu) else 1, blocks) + 1)


def crowded(cpu: Cpu) -> bool:
    """Whether multiply-adds with an element from memory take all that the load ports give: on an Intel server core 28
    rows x 1 vector take a tenth longer than 14 x 2, 9 x 3 or 7 x 4."""
    return cpu.arch == "x86_64" and cpu.fma_pipes > 1 and cpu.fma_pipes >= cpu.load_ports


def memory_bytes_per_cycle(cpu: Cpu) -> float:
    """Weights come from memory each time. Per cycle of one core, of the order of its architecture: a Raspberry
    Pi 4 copies some 5 GB/s, desktop cores stream 20 and more."""
    return 8.0 if cpu.arch == "x86_64" else 4.0


def with_memory(cycles: float, weights: int, cpu: Cpu, kept: bool = False) -> float:
    """Cycles of a layer that reads so many bytes of weights. What is fetched ahead comes while one pipe multiplies; two
    are through before it is there, since the lines that a core can ask for at once are the same for memory and for the
    second cache. kept: the first cache keeps weights for several tiles, and nothing waits for the second."""
    reading = weights / memory_bytes_per_cycle(cpu)
    return cycles + reading if crowded(cpu) and not kept else max(cycles, reading)


def chunk_of(blocks: int, block: int, cpu: Cpu) -> int:
    """How many of `blocks`, each of `block` bytes, go into half of the first cache, in chunks as equal as can be; the
    other half is for sums and elements."""
    return balanced(blocks, max(1, cpu.cache.l1d // 2 // block))[0]


def cache_bytes_per_cycle(cpu: Cpu) -> float:
    """To and from the second cache, of the order of its architecture."""
    return 32.0 if cpu.arch == "x86_64" else 16.0


def product_rows(vectors: int, cpu: Cpu, columns: Columns = NEIGHBOURS) -> int:
    """Most rows whose sums fit, with what they are made of, into registers: on ARM each row has a vector of elements,
    or, where pixels are single floats, several share one."""
    if cpu.arch == "x86_64":
        if vectors == 1:
            return max(1, min(cpu.vector_registers - 4, 28))
        # an element that several vectors share has a register
        return max(1, min(cpu.vector_registers - 1 - vectors, 28) // vectors)
    registers = min(cpu.vector_registers, neon.REGISTERS)
    if columns.planar:
        # two are left to the epilogue's constants
        needed = vectors + columns.stride / neon.LANES
        rest = registers - 2 - neon.MOST - columns.count * columns.dilation / neon.LANES
        return max(1, int(rest / needed))
    return max(1, (registers - 3) // (vectors + 1))


def product_cost(co: int, rows: Sequence[int], vectors: int, cpu: Cpu, depth: int, columns: Columns = NEIGHBOURS,
                 far: float = 0.0, shared: bool = True, half: bool = False) -> float:
    """Cycles or instructions, whichever is scarce, of tiles with these rows for all output channels.

    depth: vectors of input channels, times taps, that go into every sum. far: how often a row's elements come from
    behind the first cache, per vector of input channels and tap. shared: whether one load of an element serves several
    vectors of weights. half: of `parts`. x86: FMAs, the loads of elements, and those of the weights. ARM: the
    instructions of a turn; the loop around them; for each tile its sums set, finished and stored. Too few sums to hide
    the latency of the FMA count as if they were enough.
    """
    total = 0.0
    lanes = cpu.vector_bits // 32
    for part in parts(co, lanes, vectors, half):
        for r in rows:
            sums = r * (part.vectors - part.half / 2)
            hidden = max(sums, cpu.fma_latency * cpu.fma_pipes)
            if cpu.arch == "x86_64":
                loads = part.vectors + (r if shared and part.vectors > 1 else sums)
                tile = depth * lanes * (max(hidden / cpu.fma_pipes, loads / cpu.load_ports) + part.vectors / 4)
                tile += depth * far * r * _LINE
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
    return neon.instructions(Turn(rows, vectors, found, 0, 0, lanes)) * planes / columns.count
