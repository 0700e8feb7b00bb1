"""Direct convolution, pointwise and dense: a tile of outputs stays in registers over the whole reduction.

A tile is `pixels` neighbours in a row times `vectors` vectors of output channels. For every input channel and tap,
`vectors` vectors of weights are loaded once and multiplied by one element per pixel; the weights lie in exactly that
order. Taps that fall outside the image are left out when compiling (columns) or by the loop's bounds (rows): nothing is
padded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families import dense, winograd, winograd_weights
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import (
    STRAIGHT_LINE,
    Part,
    parts,
    pieces,
    product_cost,
    product_rows,
    product_vectors,
)
from edgecls.backends.tvm.blocked.families.rows import rows_inside
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Run, Window, flattened, runs
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Array, Cpu

# an input of so few channels would be mostly padding: it is read as it is
_PLANAR_CHANNELS = 4


def decide(window: Window, cpu: Cpu) -> Decision:
    """Enough independent sums to hide the FMA's latency, few enough to leave registers for what they are made of."""
    window = window.one_group()
    lanes = cpu.vector_bits // 32
    best, choice = float("inf"), (1, 1)
    single = window.oh * window.ow == 1
    depth = -(-window.ci // lanes) * math.prod(window.kernel)
    apart = window.stride[1] > 1 and window.ci > _PLANAR_CHANNELS
    for vectors in range(1, min(4, -(-window.co // lanes)) + 1) if single else product_vectors(window.co, cpu):
        for most in range(1, product_rows(vectors, cpu) + 1):
            flat = flattened(window, most)
            sizes = [r.size for r in runs(flat, most) for _ in range(r.count)]
            cost = flat.oh * product_cost(window.co, sizes, vectors, cpu, depth, apart)
            if max(sizes) == most and cost < best:
                best, choice = cost, (most, vectors)
    pixels, vectors = choice
    return Decision(algorithm="direct", layout=f"NCHW{lanes}c", tile=(pixels, vectors),
                    reason=f"{pixels} pixels x {vectors * lanes} channels stay in registers over "
                           f"{window.ci} x {window.kernel[0]} x {window.kernel[1]}")


def pack(weights: Array, decision: Decision, lanes: int, planar: bool, groups: int = 1) -> Array:
    """OIHW -> for each group of output vectors: [block of input channels][row][column][channel][output], flat.
    groups: of the convolution, one after another."""
    if groups > 1:
        return np.concatenate([pack(w, decision, lanes, planar) for w in np.split(weights, groups)])
    inner = 1 if planar else lanes
    co, ci, kh, kw = weights.shape
    pieces = []
    for part in parts(co, lanes, decision.tile[1]):
        width = part.vectors * lanes
        for group in range(part.count):
            start = (part.first + group * part.vectors) * lanes
            block = np.zeros((width, ci, kh, kw), np.float32)
            block[: max(0, min(width, co - start))] = weights[start:start + width]
            for channel in range(0, ci, inner):
                pieces.append(block[:, channel:channel + inner].transpose(2, 3, 1, 0).reshape(-1))
    return np.concatenate(pieces)


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, planar: bool,
         rows_first: bool = False) -> Any:
    """planar: the input is NCHW (few channels), not blocked. rows_first: all outputs of a row of pixels come before the
    next row, not all rows of a group of outputs. Parameters: input, weights, operands of the epilogue, output."""
    pixels, vectors = decision.tile
    groups, window = window.groups, window.one_group()
    flat = flattened(window, pixels)
    lanes = simd.lanes
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    size_in = window.n * (window.ci if planar else blocks_in * lanes) * window.h * window.w
    taps = window.kernel[0] * window.kernel[1]
    data = simd.parameter("data", size_in)
    group_size = blocks_out * lanes * window.ci * taps
    weights = simd.parameter("weights", groups * group_size)
    others = epilogue.parameters(simd, groups * blocks_out * lanes, window.n // groups, flat.oh * flat.ow)
    out = simd.parameter("out", window.n * blocks_out * lanes * flat.oh * flat.ow)
    # weights that are more than an image are read once for all images, else the image stays in cache
    images = window.n // groups
    once = images > 1 and groups * group_size * images > size_in
    row_of_tiles = runs(flat, pixels)
    offset = 0
    for part in parts(window.co, lanes, vectors):
        with simd.loop(window.n * part.count * flat.oh, parallel=True) as task:
            if once:
                group, image, number, row = simd.divide(task, (part.count, images, groups, flat.oh))
            elif rows_first:
                image, number, row, group = simd.divide(task, (images, groups, flat.oh, part.count))
            else:
                image, number, group, row = simd.divide(task, (images, groups, part.count, flat.oh))
            kernel = _Kernel(simd, flat, planar, part, data, weights, epilogue, others, out,
                             simd.bind(offset + number * group_size
                                       + group * (part.vectors * lanes * window.ci * taps)),
                             simd.bind(image * groups + number), group, row, image, simd.bind(number * blocks_out),
                             sum(run.count for run in row_of_tiles) == 1)
            for run in row_of_tiles:
                with simd.loop(run.count) as index:
                    kernel.tile(run, simd.bind(run.start + index * run.size))
        offset += part.count * part.vectors * lanes * window.ci * taps
    return simd.function([data, weights, *others, out])


@dataclass
class _Kernel:
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

    def __post_init__(self) -> None:
        """Distances that all tiles of the task share."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        self.next_vector = simd.pointers(window.oh * window.ow * lanes, self.part.vectors)
        if self.planar:
            self.next_plane = simd.pointers(window.h * window.w, window.ci)
            self.next_weights = simd.pointers(math.prod(window.kernel) * self._width, window.ci)
            self.next_few = simd.pointers(simd.lanes)
        else:
            self.before = simd.pointers(-self._outside)
            self.next_block = simd.pointers(window.h * window.w * lanes, min(window.ci // lanes, STRAIGHT_LINE))
            self.next_tap = simd.pointers(window.dilation[1] * lanes, window.kernel[1])
        self.always = simd.hidden(1) != 0
        self.zero = (lambda: 0) if self.single else simd.secret(0)

    def tile(self, run: Run, column: Expr) -> None:
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        first = self.part.first + self.group * self.part.vectors
        # loaded for each tile: kept for all of them it would be in the registers of the sums
        bias = self.vector + first + self.zero()
        start = [self.epilogue.start(simd, self.others, bias + v) for v in range(self.part.vectors)]
        sums = [[simd.register(start[v]) for v in range(self.part.vectors)] for _ in range(run.size)]
        if simd.by_element:
            (self._planes_written_out if self.planar else self._written_out)(column, sums, run)
        else:
            for first_tap, count, pixels in _segments(run.taps):
                self._looped(column, sums, first_tap, count, pixels)
        blocks_out = -(-window.co // lanes)
        line = ((self.image * blocks_out + first) * window.oh + self.row) * window.ow
        origin = simd.bind((line + column) * lanes)
        places = [self.next_vector.at(origin, v) for v in range(self.part.vectors)]

        def store(place: Expr, value: Expr, v: int) -> None:
            vector = self.vector + first + v
            simd.store(self.out, place, self.epilogue.apply(simd, value, self.others, vector, self.whole, place))

        if not (simd.by_element and self.epilogue.is_long):
            for v, place in enumerate(places):
                for r in range(run.size):
                    store(place + r * lanes, simd.value(sums[r][v]), v)
            return
        # a polynomial's constants find no registers beside the sums, which therefore wait in memory
        for v, place in enumerate(places):
            for r in range(run.size):
                simd.store(self.out, place + r * lanes, simd.value(sums[r][v]))
        for pixel in range(run.size):
            with simd.when(self.always):
                for v, place in enumerate(places):
                    store(place + pixel * lanes, simd.bind(simd.load(self.out, place + pixel * lanes)), v)

    def _written_out(self, column: Expr, sums: list[list[Any]], run: Run) -> None:
        """Every turn is straight-line code for all columns of the kernel, and for several blocks of channels where the
        kernel has few columns: a loop costs four instructions, as much as the loads of seven pixels. Each block and
        column is read through a pointer of its own: LLVM would keep what neighbouring columns share in registers that
        there are not."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        top = simd.bind(self.row * window.stride[0] - window.pad[0])
        first, rows = rows_inside(simd, window, top)
        taps = [(tap, pixels) for tap, pixels in enumerate(run.taps) if pixels]
        whole, rest = divmod(window.ci, lanes)
        for turns, start, size in [*pieces(whole, self._together(len(taps))), *([(1, whole, 1)] if rest else [])]:
            channels = lanes if start < whole else rest
            with self._apart(turns), simd.loop(turns) as index, simd.loop(rows, start=first) as i:
                block = start + index * size
                line = self._line(block, top + i * window.dilation[0])
                line = self.before.at(line + (column * window.stride[1] - window.pad[1]) * lanes + self._outside, 1)
                weights = self._weights(block * lanes, i, channels)
                for b in range(size):
                    for tap, pixels in taps:
                        place = weights + (b * window.kernel[1] + tap) * channels * self._width
                        self._products(sums, [(0, pixels)], self.next_tap.at(self.next_block.at(line, b), tap), place,
                                       channels, channels)

    def _planes_written_out(self, column: Expr, sums: list[list[Any]], run: Run) -> None:
        """The same of few planes: every turn is a row of the kernel through all of them, and one load serves several
        columns of the kernel."""
        simd, window = self.simd, self.window
        top = simd.bind(self.row * window.stride[0] - window.pad[0])
        first, rows = rows_inside(simd, window, top)
        with simd.loop(rows, start=first) as i:
            line = simd.bind(self._line(0, top + i * window.dilation[0]) + column * window.stride[1] - window.pad[1])
            weights = self._weights(0, i, 1)
            taps = [(tap, pixels) for tap, pixels in enumerate(run.taps) if pixels]
            # patches that do not overlap share no loads, and those of one pixel LLVM would only pair
            size = len(taps) if window.stride[1] < window.kernel[1] else simd.lanes
            for channel in range(window.ci):
                plane, place = self.next_plane.at(line, channel), self.next_weights.at(weights, channel)
                for start in range(0, len(taps), size):
                    self._products(sums, [(tap - start, pixels) for tap, pixels in taps[start:start + size]],
                                   self.next_few.at(plane, start // size), place + start * self._width, 1, 1)

    def _apart(self, turns: int) -> AbstractContextManager[None]:
        """LLVM would make one block of code of a single turn and what follows, and mix both until registers run out."""
        return self.simd.when(self.always) if turns == 1 and self.window.kernel[0] == 1 else nullcontext()

    def _together(self, taps: int) -> int:
        """Blocks of channels that are written out in one turn."""
        if self.window.kernel[0] > 1:
            return 1
        return -(-STRAIGHT_LINE // max(1, taps))

    def _looped(self, column: Expr, sums: list[list[Any]], tap: int, taps: int, pixels: tuple[int, ...]) -> None:
        """Add what `taps` columns of the kernel from `tap` on contribute to `pixels` of the tile."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        top = simd.bind(self.row * window.stride[0] - window.pad[0])
        first, rows = rows_inside(simd, window, top)
        whole, rest = (window.ci, 0) if self.planar else divmod(window.ci, lanes)
        for blocks, start, channels in [(whole, 0, 1 if self.planar else lanes), *([(1, whole, rest)] if rest else [])]:
            with simd.loop(blocks, start=start) as block, simd.loop(rows, start=first) as i:
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
            with simd.loop(channels // step) as chunk:
                base = simd.bind(line + t * (window.dilation[1] * self._unit) + chunk * step)
                self._products(sums, [(0, pixels)], base,
                               simd.bind(weights + (t * channels + chunk * step) * self._width), step, channels)

    def _weights(self, before: Expr, i: Expr, channels: int) -> Expr:
        """Where the weights of row i of the kernel begin, for a block that `before` input channels precede."""
        kh, kw = self.window.kernel
        return self.simd.bind(self.origin + before * (kh * kw * self._width) + i * (kw * channels * self._width))

    @property
    def _outside(self) -> int:
        """Floats by which padding begins before the tensor: loads at a known place so far back need an address each."""
        return (self.window.pad[0] * self.window.w + self.window.pad[1]) * self.simd.lanes

    @property
    def _unit(self) -> int:
        """Floats from one column of the input to the next."""
        return 1 if self.planar else self.simd.lanes

    @property
    def _width(self) -> int:
        """Floats of weights per element of the input."""
        return self.part.vectors * self.simd.lanes

    def _line(self, block: Expr, y: Expr) -> Expr:
        """Where row y of one block of channels begins."""
        planes = self.window.ci if self.planar else -(-self.window.ci // self.simd.lanes)
        return ((self.image * planes + block) * self.window.h + y) * (self.window.w * self._unit)

    def _products(self, sums: list[list[Any]], taps: Sequence[tuple[int, tuple[int, ...]]], base: Expr, weights: Expr,
                  step: int, channels: int) -> None:
        """Straight-line code for `step` channels of these columns of the kernel, each with the pixels it reaches."""
        simd, window = self.simd, self.window
        places = {(tap, r, k): (r * window.stride[1] + tap * window.dilation[1]) * self._unit + k
                  for tap, pixels in taps for r in pixels for k in range(step)}
        spread = dict(zip(places, simd.elements(self.data, base, list(places.values()), not self.planar), strict=True))
        for tap, pixels in taps:
            for k in range(step):
                # one vector of weights at a time: with all of them loaded LLVM runs out of registers
                for v in range(len(sums[0])):
                    place = weights + (tap * channels + k) * self._width + v * simd.lanes
                    weight = simd.bind(simd.load(self.weights, place), "w")
                    for r in pixels:
                        simd.assign(sums[r][v], simd.value(sums[r][v]) + spread[tap, r, k] * weight)


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


def reads_rows_first(window: Window, cpu: Cpu) -> bool:
    """An input that the cache cannot keep is read once if the weights can stay there instead."""
    return (window.ci * window.h * window.w * 4 > cpu.cache.l2 // 2
            and window.ci * window.co * math.prod(window.kernel) * 4 <= cpu.cache.l2 // 2)


def plan(found: Group, tensors: Tensors) -> Plan:
    window, weights, decision = tensors.chosen(found)
    data = found.anchor.inputs[0]
    if decision.chunk:
        return winograd_weights.plan(window, weights, decision, data, tensors)
    if decision.algorithm != "direct":
        return winograd.plan(window, weights, decision, data, tensors)
    return plan_direct(window, weights, decision, data, tensors)


def plan_direct(window: Window, weights: Array, decision: Decision, data: Any, tensors: Tensors) -> Plan:
    """Of whole channels, or of groups that are whole vectors."""
    planar = (window.groups == 1 and window.ci <= _PLANAR_CHANNELS and tensors.is_image(data)
              and not tensors.is_blocked(data))
    if dense.applies(window) and not planar:
        decision = dense.decide(window, decision, tensors.cpu)
        return Plan("dense", decision, (tensors.block(data), pack(weights, decision, tensors.lanes, False)),
                    lambda simd, epilogue: dense.emit(simd, window, decision, epilogue), (window, decision),
                    window.multiply_adds)
    rows_first = reads_rows_first(window.one_group(), tensors.cpu)
    return Plan(f"conv{window.kernel[0]}x{window.kernel[1]}", decision,
                (tensors.plain(data) if planar else tensors.block(data),
                 pack(weights, decision, tensors.lanes, planar, window.groups)),
                lambda simd, epilogue: emit(simd, window, decision, epilogue, planar, rows_first),
                (window, planar, decision), window.multiply_adds, in_place=True)
