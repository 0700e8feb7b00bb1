"""Direct convolution, one block of input channels after the other, where the weights of a group of outputs are more
than the first cache keeps.

A register tile that goes through the whole reduction at once meets every weight anew in the second cache or in memory,
and two pipes multiply faster than it comes from there. Here a band of rows takes one block of input channels at a time:
the weights of that block stay in the first cache while all tiles of the band use them, and meanwhile the tiles ask for
those of the next one. The sums wait in a workspace. (Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication", 2008, section 4.2, with the band as the block that is kept.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.product import Part, crowded, parts
from edgecls.backends.tvm.blocked.families.rows import rows_inside
from edgecls.backends.tvm.blocked.multiply import assembly_of, multiply
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.turn import Columns, Turn, products
from edgecls.backends.tvm.blocked.window import Run, Window, balanced, runs
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Cpu

# of the first cache; the rest is for what lies between the rows of a band and for the next block
_OF_CACHE = 0.9
# tiles that use a block's weights: fewer would have to ask for more lines than come meanwhile
_TILES = 4
# a turn is straight-line code for all columns of the kernel, which the cache of decoded instructions has to hold
_COLUMNS = 3


def band(window: Window, tile: tuple[int, int], cpu: Cpu) -> int:
    """Rows of outputs that go through the input channels together; 0 where tiles should go through all of them at once.
    window: of one group of the convolution."""
    (pixels, vectors), lanes = tile, cpu.vector_bits // 32
    weights = math.prod(window.kernel) * lanes * vectors * lanes  # of a block
    if not (crowded(cpu) and assembly_of(cpu) == "avx" and 1 < window.kernel[1] <= _COLUMNS
            and weights * -(-window.ci // lanes) * 4 > cpu.cache.l1d):
        return 0

    def floats(rows: int) -> int:
        reached = (rows - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1
        return weights + (rows * window.ow * vectors + min(reached, window.h) * window.w) * lanes

    fitting = [rows for rows in range(1, window.oh + 1) if floats(rows) * 4 <= cpu.cache.l1d * _OF_CACHE]
    rows = balanced(window.oh, fitting[-1])[0] if fitting else 0
    return rows if rows * -(-window.ow // pixels) >= _TILES else 0


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, line: int) -> Any:
    """line: floats in a line of the cache. Parameters: input, weights as `convolution.pack` has them, operands of the
    epilogue, output."""
    (pixels, vectors), lanes = decision.tile, simd.lanes
    groups, window = window.groups, window.one_group()
    images, area, taps = window.n // groups, window.oh * window.ow, math.prod(window.kernel)
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    group_size = blocks_out * lanes * window.ci * taps
    data = simd.parameter("data", window.n * blocks_in * lanes * window.h * window.w)
    weights = simd.parameter("weights", groups * group_size)
    others = epilogue.parameters(simd, groups * blocks_out * lanes, images, area)
    out = simd.parameter("out", window.n * blocks_out * lanes * area)
    bands = -(-window.oh // decision.strip)
    whole, rest = divmod(window.ci, lanes)
    offset = 0
    for part in parts(window.co, lanes, vectors):
        width = part.vectors * lanes
        with simd.loop(window.n * part.count * bands, parallel=True) as task:
            image, number, group, index = simd.divide(task, (images, groups, part.count, bands))
            start = simd.bind(index * decision.strip)
            rows = simd.bind(simd.at_most(decision.strip, window.oh - start))
            origin = simd.bind(offset + number * group_size + group * (width * window.ci * taps))
            own = simd.bind(image * groups + number)
            # of the network's channels, in vectors, and of this convolution's outputs
            vector = simd.bind(number * blocks_out + part.first + group * part.vectors)
            place = simd.bind((own * blocks_out + part.first + group * part.vectors) * area + start * window.ow)
            band = _Band(simd, window, part, data, weights, own, start,
                         simd.scratch("sums", decision.strip * window.ow * width), runs(window, pixels),
                         window.oh - (bands - 1) * decision.strip, line)
            with simd.loop(rows * window.ow) as pixel:
                for v in range(part.vectors):
                    simd.store(band.sums, (pixel * part.vectors + v) * lanes,
                               epilogue.start(simd, others, vector + v))
            for count, first, channels in [(whole, 0, lanes), (1, whole, rest)]:
                if channels and count:
                    with simd.loop(count, start=first) as block:
                        band.add(rows, block, channels, simd.bind(origin + block * (taps * lanes * width)))
            with simd.loop(rows * window.ow) as pixel:
                for v in range(part.vectors):
                    value = simd.bind(simd.load(band.sums, (pixel * part.vectors + v) * lanes))
                    at = simd.bind((place + v * area + pixel) * lanes)
                    simd.store(out, at, epilogue.apply(simd, value, others, vector + v, image, at))
        offset += part.count * width * window.ci * taps
    return simd.function([data, weights, *others, out])


@dataclass(frozen=True)
class _Band:
    """Rows of one image's outputs, from row `start` on, for one group of output vectors. sums: [row][column][vector].
    least: rows of the smallest band. line: of the cache, in floats."""

    simd: Simd
    window: Window
    part: Part
    data: Any
    weights: Any
    image: Expr
    start: Expr
    sums: Any
    runs: list[Run]
    least: int
    line: int

    def add(self, rows: Expr, block: Expr, channels: int, weights: Expr) -> None:
        """What one block of input channels adds to the sums. weights: where those of the block begin."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        blocks_in = -(-window.ci // lanes)
        plane = simd.bind((self.image * blocks_in + block) * (window.h * window.w))
        with simd.loop(rows) as row:
            top = simd.bind((self.start + row) * window.stride[0] - window.pad[0])
            first, count = rows_inside(simd, window, top)
            line = simd.bind(plane + (top + first * window.dilation[0]) * window.w - window.pad[1])
            begin = simd.bind(weights + first * (window.kernel[1] * channels * self._width))
            before = row * sum(run.count for run in self.runs)
            for run in self.runs:
                with simd.loop(run.count) as index:
                    column = simd.bind(run.start + index * run.size)
                    self._tile(run, channels, simd.bind((row * window.ow + column) * self._width), count,
                               simd.bind((line + column * window.stride[1]) * lanes), begin,
                               simd.bind(weights + window.kernel[0] * window.kernel[1] * channels * self._width
                                         + (before + index) * (self._fetched * self._turns * self.line)))
                before += run.count

    def _tile(self, run: Run, channels: int, place: Expr, count: Expr, data: Expr, weights: Expr, ahead: Expr) -> None:
        """place: of its sums. count: rows of the kernel, one a turn. ahead: what this tile fetches."""
        simd, window, vectors = self.simd, self.window, self.part.vectors
        if not any(run.taps):
            return
        places = [[place + (r * vectors + v) * simd.lanes for v in range(vectors)] for r in range(run.size)]
        sums = [[simd.register(simd.load(self.sums, at)) for at in row] for row in places]
        columns = Columns(window.kernel[1], window.stride[1], window.dilation[1])
        turn = Turn(run.size, vectors, products(columns, run.taps, channels, vectors, simd.lanes),
                    window.dilation[0] * window.w * simd.lanes, window.kernel[1] * channels * self._width, simd.lanes,
                    fetched=self._fetched)
        multiply(simd, turn, count, sums, self.data, data, self.weights, weights, ahead)
        for row, registers in zip(places, sums, strict=True):
            for at, register in zip(row, registers, strict=True):
                simd.store(self.sums, at, simd.value(register))

    @property
    def _width(self) -> int:
        return self.part.vectors * self.simd.lanes

    @property
    def _turns(self) -> int:
        """Rows of the kernel that every row of outputs reads inside the image, at least."""
        window = self.window
        tops = [row * window.stride[0] - window.pad[0] for row in range(window.oh)]
        return max(1, min(sum(0 <= top + i * window.dilation[0] < window.h for i in range(window.kernel[0]))
                          for top in tops))

    @property
    def _fetched(self) -> int:
        """Lines that each turn asks for, so that all of the next block's are on their way when a band is through."""
        block = math.prod(self.window.kernel) * self.simd.lanes * self._width
        turns = self.least * sum(run.count for run in self.runs) * self._turns
        return -(-block // (self.line * turns))
