"""Convolution with a kernel of one pixel over many input channels, a chunk of them at a time.

A register tile that goes through all input channels at once meets weights that no tile after it finds in the first
cache again. Here all tiles of an image go through one chunk of channels, whose weights stay in that cache meanwhile,
and ask for those of the next one. The sums wait in a workspace. (Goto and van de Geijn, "Anatomy of High-Performance
Matrix Multiplication", 2008, section 4.2.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.product import Part, chunk_of, crowded, parts
from edgecls.backends.tvm.blocked.families.rows import piece_of
from edgecls.backends.tvm.blocked.multiply import assembly_of, multiply
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.turn import Columns, Turn, products
from edgecls.backends.tvm.blocked.window import Run, Window, in_one_row, runs
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Cpu

# weights that are fewer times the first cache come from the second in time
_DEEP = 1.9
# fewer use a chunk's weights too seldom, and would have to ask for more lines than come meanwhile
_TILES = 3


def chunk(window: Window, tile: tuple[int, int], cpu: Cpu) -> int:
    """Input channels that all pixels go through together, in whole vectors; 0 where each tile should go through all of
    them at once. window: of one group of the convolution."""
    (pixels, vectors), lanes, cache = tile, cpu.vector_bits // 32, cpu.cache.l1d
    blocks, block = -(-window.ci // lanes), lanes * vectors * lanes * 4  # block: bytes of weights
    area = window.oh * window.ow
    if not (crowded(cpu) and assembly_of(cpu) == "avx" and window.kernel == (1, 1) and not any(window.pad)
            and blocks * block > _DEEP * cache and -(-area // pixels) >= _TILES
            and area * vectors * lanes * 4 <= cache):
        return 0
    return chunk_of(blocks, block, cpu) * lanes


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, line: int, pieces: int) -> Any:
    """line: floats in a line of the cache. pieces: of a pointwise convolution's image, which cores share. Parameters:
    input, weights as `convolution.pack` has them, operands of the epilogue, output."""
    (pixels, vectors), lanes = decision.tile, simd.lanes
    groups, window = window.groups, window.one_group()
    window = in_one_row(window) if window.pointwise else window
    images, area = window.n // groups, window.oh * window.ow
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    plane = window.h * window.w * lanes
    data = simd.parameter("data", window.n * blocks_in * plane)
    weights = simd.parameter("weights", groups * blocks_out * lanes * window.ci)
    others = epilogue.parameters(simd, groups * blocks_out * lanes, images, area)
    out = simd.parameter("out", window.n * blocks_out * lanes * area)
    row = runs(window, pixels)
    in_piece = -(-window.oh * sum(run.count for run in row) // pieces)
    whole, rest = divmod(window.ci, lanes)
    depth = decision.chunk // lanes
    offset = 0
    for part in parts(window.co, lanes, vectors):
        width = part.vectors * lanes
        with simd.loop(window.n * pieces * part.count, parallel=True) as task:
            if images > 1:
                # each group's weights are used for all images while the second cache has them
                group, image, number, piece = simd.divide(task, (part.count, images, groups, pieces))
            else:
                image, number, piece, group = simd.divide(task, (images, groups, pieces, part.count))
            origin = simd.bind(offset + number * (blocks_out * lanes * window.ci) + group * (width * window.ci))
            own = simd.bind(image * groups + number)
            first = part.first + group * part.vectors
            tiles = _Tiles(simd, window, part, data, weights, simd.bind(own * (blocks_in * plane)), origin,
                           simd.scratch("sums", in_piece * row[0].size * width), row, piece, in_piece, line)
            # of the network's channels, and of this convolution's outputs
            vector, place = simd.bind(number * blocks_out + first), simd.bind((own * blocks_out + first) * area)
            tiles.each(partial(_begin, tiles, epilogue, others, vector))
            with simd.loop(whole // depth) as index:
                tiles.add(index * depth, depth, lanes)
            if left := whole % depth:
                tiles.add(whole - left, left, lanes)
            if rest:
                tiles.add(whole, 1, rest)
            tiles.each(partial(_finish, tiles, epilogue, others, out, vector, image, place, area))
        offset += part.count * width * window.ci
    return simd.function([data, weights, *others, out])


def _begin(tiles: _Tiles, epilogue: Epilogue, others: list[Any], vector: Expr, sums: Expr, _: Expr) -> None:
    simd = tiles.simd
    for v in range(tiles.part.vectors):
        simd.store(tiles.sums, sums + v * simd.lanes, epilogue.start(simd, others, vector + v))


def _finish(tiles: _Tiles, epilogue: Epilogue, others: list[Any], out: Any, vector: Expr, image: Expr, place: Expr,
            area: int, sums: Expr, pixel: Expr) -> None:
    simd = tiles.simd
    for v in range(tiles.part.vectors):
        value = simd.bind(simd.load(tiles.sums, sums + v * simd.lanes))
        at = simd.bind((place + v * area + pixel) * simd.lanes)
        simd.store(out, at, epilogue.apply(simd, value, others, vector + v, image, at))


@dataclass(frozen=True)
class _Tiles:
    """Those of one piece of an image, for one group of output vectors. image: where it begins; origin: where the
    group's weights do. sums: [tile][pixel][vector]. row: tiles of one row of outputs. in_piece: most tiles. line: of
    the cache, in floats."""

    simd: Simd
    window: Window
    part: Part
    data: Any
    weights: Any
    image: Expr
    origin: Expr
    sums: Any
    row: list[Run]
    piece: Expr
    in_piece: int
    line: int

    def each(self, action: Callable[[Expr, Expr], None]) -> None:
        """action(where the sums of a pixel are, its number among the outputs)."""
        simd = self.simd
        for run, row, column, number in self._tiles():
            with simd.loop(run.size) as pixel:
                action(simd.bind(number * self._slot + pixel * self._width),
                       simd.bind(row * self.window.ow + column + pixel))

    def add(self, block: Expr, count: int, channels: int) -> None:
        """What `count` vectors of `channels` input channels add, from number `block` on."""
        simd, window, lanes, vectors = self.simd, self.window, self.simd.lanes, self.part.vectors
        data = simd.bind(self.image + block * (window.h * window.w * lanes))
        weights = simd.bind(self.origin + block * (lanes * self._width))
        after = count * channels * self._width
        # lines that each turn asks for, so that those of a next chunk as large as this are on their way at its end
        fetched = -(-after // (self.line * self.in_piece * count))
        step = fetched * count * self.line
        for run, row, column, number in self._tiles():
            found = products(Columns(1, window.stride[1]), run.taps, channels, vectors, lanes)
            turn = Turn(run.size, vectors, found, window.h * window.w * lanes, channels * self._width, lanes,
                        fetched=fetched, alone=True)
            place = simd.bind(number * self._slot)
            places = [[place + (r * vectors + v) * lanes for v in range(vectors)] for r in range(run.size)]
            sums = [[simd.register(simd.load(self.sums, at)) for at in pixel] for pixel in places]
            pixel = row * (window.stride[0] * window.w) + column * window.stride[1]
            multiply(simd, turn, count, sums, self.data, simd.bind(data + pixel * lanes), self.weights, weights,
                     simd.bind(weights + after + number * step))
            for at_pixel, registers in zip(places, sums, strict=True):
                for at, register in zip(at_pixel, registers, strict=True):
                    simd.store(self.sums, at, simd.value(register))

    def _tiles(self) -> Iterator[tuple[Run, Expr, Expr, Expr]]:
        """Within loops over rows and tiles: (run, row, first column, the tile's number in this piece)."""
        simd, in_row = self.simd, sum(run.count for run in self.row)
        with simd.loop(self.window.oh) as row:
            before = 0
            for run in self.row:
                first, count = piece_of(simd, self.piece, self.in_piece, before, run.count)
                with simd.loop(count, start=first) as index:
                    number = simd.bind(row * in_row + before + index - self.piece * self.in_piece)
                    yield run, row, simd.bind(run.start + index * run.size), number
                before += run.count

    @property
    def _slot(self) -> int:
        """Floats of a tile's sums."""
        return self.row[0].size * self._width

    @property
    def _width(self) -> int:
        return self.part.vectors * self.simd.lanes
