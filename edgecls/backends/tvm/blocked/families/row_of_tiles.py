"""The inner loops of direct convolution: the register tiles of one row of outputs, for one group of output vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.product import STRAIGHT_LINE, Ahead, Part, pieces
from edgecls.backends.tvm.blocked.families.rows import rows_inside
from edgecls.backends.tvm.blocked.multiply import multiply
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.turn import Columns, Product, Turn, products
from edgecls.backends.tvm.blocked.window import Run, Window


def columns_of(window: Window, planar: bool) -> Columns:
    return Columns(window.kernel[1], window.stride[1], window.dilation[1], planar)


@dataclass
class RowOfTiles:
    """One row of one image for one group of output vectors.

    In a convolution of groups `image` is what one of them makes: the vectors of image `whole` from `vector` on.
    """

    simd: Simd
    window: Window
    planar: bool
    part: Part
    data: Any
    weights: Any
    epilogue: Epilogue
    others: Sequence[Any]
    out: Any
    origin: Expr
    image: Expr
    group: Expr
    row: Expr
    whole: Expr
    vector: Expr
    single: bool  # tile in the row
    streams: bool  # of weights, one for each vector of outputs
    ahead: Ahead | None

    def __post_init__(self) -> None:
        """Distances that all tiles of the task share."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        self.next_vector = simd.pointers(window.oh * window.ow * lanes, self.part.vectors)
        self.columns = columns_of(window, self.planar)
        self.always = simd.secret(1)
        self.zero = (lambda: 0) if self.single else simd.secret(0)

    def tile(self, run: Run, column: Expr, number: Expr) -> None:
        """number: of the tile among those of the group's outputs."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        first = self.part.first + self.group * self.part.vectors
        # loaded for each tile: kept for all of them it would be in the registers of the sums
        bias = self.vector + first + self.zero()
        start = [self._used(self.epilogue.start(simd, self.others, bias + v), v) for v in range(self.part.vectors)]
        sums = [[simd.register(value) for value in start] for _ in range(run.size)]
        if simd.by_element and not self._too_narrow(run):
            self._written_out(column, sums, run)
        else:
            for first_tap, count, pixels in _segments(run.taps):
                self._looped(column, sums, first_tap, count, pixels, number)
        blocks_out = -(-window.co // lanes)
        line = ((self.image * blocks_out + first) * window.oh + self.row) * window.ow
        origin = simd.bind((line + column) * lanes)
        places = [self.next_vector.at(origin, v) for v in range(self.part.vectors)]

        def store(place: Expr, value: Expr, v: int) -> None:
            vector = self.vector + first + v
            simd.store(self.out, place, self.epilogue.apply(simd, value, self.others, vector, self.whole, place))

        apart = self._apart()
        if not (simd.by_element and self.epilogue.is_long):
            with apart():
                for v, place in enumerate(places):
                    for r in range(run.size):
                        store(place + r * lanes, simd.whole(simd.value(sums[r][v])), v)
            return
        # a polynomial's constants find no registers beside the sums, which therefore wait in memory
        for v, place in enumerate(places):
            for r in range(run.size):
                simd.store(self.out, place + r * lanes, simd.value(sums[r][v]))
        with simd.constants():
            for pixel in range(run.size):
                with apart():
                    for v, place in enumerate(places):
                        store(place + pixel * lanes, simd.bind(simd.load(self.out, place + pixel * lanes)), v)

    def _written_out(self, column: Expr, sums: list[list[Any]], run: Run) -> None:
        """Every turn is straight-line code for all columns of the kernel, and for several blocks of channels where the
        kernel has few columns. Rows of the kernel follow one another, or blocks of channels where it has one row."""
        simd, window = self.simd, self.window
        top = simd.bind(self.row * window.stride[0] - window.pad[0])
        first, rows = rows_inside(simd, window, top)
        taps = sum(map(bool, run.taps))
        inner = 1 if self.planar else simd.lanes
        whole, rest = divmod(window.ci, inner)
        left = (column * window.stride[1] - window.pad[1]) * self._unit

        def turns(count: Expr, units: int, block: Expr, channels: int, distance: int) -> None:
            found = products(self.columns, run.taps, channels, self.part.vectors, simd.lanes)
            turn = Turn(run.size, self.part.vectors, found, distance, window.kernel[1] * channels * self._width,
                        simd.lanes, units)
            line = self._line(block, top + first * window.dilation[0])
            multiply(simd, turn, count, sums, self.data, simd.bind(line + left), self.weights,
                     self._weights(block * inner, first, channels))

        for count, start, channels in [(whole, 0, inner), *([(1, whole, rest)] if rest else [])] if taps else []:
            if isinstance(rows, int) and rows == 1:
                for number, begin, units in pieces(count, -(-STRAIGHT_LINE // taps)):
                    turns(number, units, start + begin, channels, window.h * window.w * self._unit)
            else:
                with simd.loop(count, start=start) as block:
                    turns(rows, 1, block, channels, window.dilation[0] * window.w * self._unit)

    def _too_narrow(self, run: Run) -> bool:
        """Floats of a plane that do not fill a vector."""
        columns = self.columns
        reached = [r * columns.stride + tap * columns.dilation for tap, rows in enumerate(run.taps) for r in rows]
        return self.planar and max(reached, default=0) - min(reached, default=0) + 1 < self.simd.lanes

    def _apart(self) -> Callable[[], AbstractContextManager[None]]:
        """Keeps LLVM from mixing the epilogue with a turn before it, and from loading its constants outside the tile,
        where the sums and what they are made of fill all registers. Asked anew by each tile, or LLVM would ask once for
        all of them."""
        if not self.simd.by_element:
            return nullcontext
        always = self.always() != 0
        return lambda: self.simd.when(always)

    def _looped(self, column: Expr, sums: list[list[Any]], tap: int, taps: int, pixels: tuple[int, ...],
                number: Expr) -> None:
        """Add what `taps` columns of the kernel from `tap` on contribute to `pixels` of the tile."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        top = simd.bind(self.row * window.stride[0] - window.pad[0])
        first, rows = rows_inside(simd, window, top)
        whole, rest = (window.ci, 0) if self.planar else divmod(window.ci, lanes)
        for blocks, start, channels in [(whole, 0, 1 if self.planar else lanes), *([(1, whole, rest)] if rest else [])]:
            with simd.loop(blocks, start=start) as block, simd.loop(rows, start=first) as i:
                if self.ahead:
                    self.ahead.fetch(simd, self.weights, self.origin, number, block * window.kernel[0] + i)
                self._block(sums, column, tap, taps, pixels, block, i, top, channels)

    def _block(self, sums: list[list[Any]], column: Expr, tap: int, taps: int, pixels: tuple[int, ...], block: Expr,
               i: Expr, top: Expr, channels: int) -> None:
        """One block of input channels (one channel if planar) through row i of the kernel."""
        simd, window = self.simd, self.window
        line = simd.bind(self._line(block, top + i * window.dilation[0])
                         + (column * window.stride[1] - window.pad[1]) * self._unit)
        weights = self._weights(block if self.planar else block * simd.lanes, i, channels)
        with simd.loop(taps, start=tap) as t:
            step = _step(channels, len(pixels) * len(sums[0]))
            found = tuple(Product(k * self._width, tuple((row, r * window.stride[1] * self._unit + k, 0)
                                                         for row, r in enumerate(pixels))) for k in range(step))
            turn = Turn(len(pixels), len(sums[0]), found, step, step * self._width, self._between, half=self.part.half,
                        alone=True)
            multiply(simd, turn, channels // step, [sums[r] for r in pixels], self.data,
                     simd.bind(line + t * (window.dilation[1] * self._unit)), self.weights,
                     simd.bind(weights + t * channels * self._width))

    def _weights(self, before: Expr, i: Expr, channels: int) -> Expr:
        """Where the weights of row i of the kernel begin, for a block that `before` input channels precede."""
        kh, kw = self.window.kernel
        return self.simd.bind(self.origin + before * (kh * kw * self._width) + i * (kw * channels * self._width))

    @property
    def _unit(self) -> int:
        """Floats from one column of the input to the next."""
        return 1 if self.planar else self.simd.lanes

    @property
    def _lanes(self) -> list[int]:
        """Of each vector of outputs, those that are computed."""
        lanes = self.simd.lanes
        return [lanes] * (self.part.vectors - 1) + [lanes // 2 if self.part.half else lanes]

    def _used(self, value: Expr, v: int) -> Expr:
        lanes = self._lanes[v]
        return value if lanes == self.simd.lanes else self.simd.lanes_of(value, 0, lanes)

    @property
    def _width(self) -> int:
        """Floats of weights per element of the input, in one stream."""
        return self.simd.lanes * (1 if self.streams else self.part.vectors)

    @property
    def _between(self) -> int:
        """Floats from one vector's weights of an element to the next one's."""
        return self.simd.lanes * (self.window.ci * math.prod(self.window.kernel) if self.streams else 1)

    def _line(self, block: Expr, y: Expr) -> Expr:
        """Where row y of one block of channels begins."""
        planes = self.window.ci if self.planar else -(-self.window.ci // self.simd.lanes)
        return ((self.image * planes + block) * self.window.h + y) * (self.window.w * self._unit)


def _segments(taps: Sequence[tuple[int, ...]]) -> list[tuple[int, int, tuple[int, ...]]]:
    """(first column of the kernel, how many, outputs they reach): columns that reach the same outputs share a loop."""
    found: list[tuple[int, int, tuple[int, ...]]] = []
    for tap, pixels in enumerate(taps):
        if found and found[-1][2] == pixels:
            found[-1] = (found[-1][0], found[-1][1] + 1, pixels)
        elif pixels:
            found.append((tap, 1, pixels))
    return found


def _step(channels: int, products: int) -> int:
    """Channels to write out: all of a block, or a divisor of it when that would be very long code."""
    step = channels
    while step > 4 and step % 2 == 0 and step * products > 256:
        step //= 2
    return step
