"""Direct convolution, pointwise and dense: a tile of outputs stays in registers over the whole reduction.

A tile is `pixels` neighbours in a row times `vectors` vectors of output channels. For every input channel and tap,
`vectors` vectors of weights are loaded once and multiplied by one element per pixel; the weights lie in exactly that
order. Taps that fall outside the image are left out when compiling (columns) or by the loop's bounds (rows): nothing is
padded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families import winograd
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import (
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
# LLVM unrolls a loop that comes to fewer instructions than this
_UNROLLED = 400


def decide(window: Window, cpu: Cpu) -> Decision:
    """Enough independent sums to hide the FMA's latency, few enough to leave registers for what they are made of."""
    lanes = cpu.vector_bits // 32
    best, choice = float("inf"), (1, 1)
    single = window.oh * window.ow == 1
    for vectors in range(1, min(4, -(-window.co // lanes)) + 1) if single else product_vectors(window.co, cpu):
        for most in range(1, product_rows(vectors, cpu) + 1):
            flat = flattened(window, most)
            sizes = [r.size for r in runs(flat, most) for _ in range(r.count)]
            cost = flat.oh * product_cost(window.co, sizes, vectors, cpu)
            if max(sizes) == most and cost < best:
                best, choice = cost, (most, vectors)
    pixels, vectors = choice
    return Decision(algorithm="direct", layout=f"NCHW{lanes}c", tile=(pixels, vectors),
                    reason=f"{pixels} pixels x {vectors * lanes} channels stay in registers over "
                           f"{window.ci} x {window.kernel[0]} x {window.kernel[1]}")


def pack(weights: Array, decision: Decision, lanes: int, planar: bool) -> Array:
    """OIHW -> for each group of output vectors: [block of input channels][row][column][channel][output], flat."""
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
    flat = flattened(window, pixels)
    lanes = simd.lanes
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    size_in = window.n * (window.ci if planar else blocks_in * lanes) * window.h * window.w
    taps = window.kernel[0] * window.kernel[1]
    data = simd.parameter("data", size_in)
    weights = simd.parameter("weights", blocks_out * lanes * window.ci * taps)
    others = epilogue.parameters(simd, blocks_out * lanes, window.n, flat.oh * flat.ow)
    out = simd.parameter("out", window.n * blocks_out * lanes * flat.oh * flat.ow)
    offset = 0
    for part in parts(window.co, lanes, vectors):
        with simd.loop(window.n * part.count * flat.oh, parallel=True) as task:
            if rows_first:
                image, row, group = simd.divide(task, (window.n, flat.oh, part.count))
            else:
                image, group, row = simd.divide(task, (window.n, part.count, flat.oh))
            kernel = _Kernel(simd, flat, planar, part, data, weights, epilogue, others, out,
                             simd.bind(offset + group * (part.vectors * lanes * window.ci * taps)),
                             image, group, row)
            for run in runs(flat, pixels):
                with simd.loop(run.count) as index:
                    kernel.tile(run, simd.bind(run.start + index * run.size))
        offset += part.count * part.vectors * lanes * window.ci * taps
    return simd.function([data, weights, *others, out])


@dataclass
class _Kernel:
    """One row of one image for one group of output vectors."""

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

    def tile(self, run: Run, column: Expr) -> None:
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        first = self.part.first + self.group * self.part.vectors
        start = [self.epilogue.start(simd, self.others, first + v) for v in range(self.part.vectors)]
        sums = [[simd.register(start[v]) for v in range(self.part.vectors)] for _ in range(run.size)]
        together = 0 if self.planar or not simd.by_element else -(-_UNROLLED // (lanes * run.size * self.part.vectors))
        for first_tap, count, pixels in _segments(run.taps, together):
            self._reduce(column, sums, first_tap, count, pixels)
        blocks_out = -(-window.co // lanes)
        for v in range(self.part.vectors):
            line = ((self.image * blocks_out + first + v) * window.oh + self.row) * window.ow
            place = simd.bind((line + column) * lanes)
            for r in range(run.size):
                value = self.epilogue.apply(simd, simd.value(sums[r][v]), self.others, first + v, self.image,
                                            place + r * lanes)
                simd.store(self.out, place + r * lanes, value)

    def _reduce(self, column: Expr, sums: list[list[Any]], tap: int, taps: int, pixels: tuple[int, ...]) -> None:
        """Add what `taps` columns of the kernel from `tap` on contribute to `pixels` of the tile."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        top = simd.bind(self.row * window.stride[0] - window.pad[0])
        first, count = rows_inside(simd, window, top)
        whole, rest = (window.ci, 0) if self.planar else divmod(window.ci, lanes)
        # two blocks of a pointwise convolution share the cost of the loop around them
        together = 2 if simd.by_element and window.kernel == (1, 1) and not self.planar else 1
        for count_of, start, size in pieces(whole, together):
            with simd.loop(count_of) as index, simd.loop(count, start=first) as i:
                for block in range(size):
                    self._block(sums, column, tap, taps, pixels, start + index * size + block, i, top,
                                1 if self.planar else lanes)
        if rest:
            with simd.loop(count, start=first) as i:
                self._block(sums, column, tap, taps, pixels, whole, i, top, rest)

    def _block(self, sums: list[list[Any]], column: Expr, tap: int, taps: int, pixels: tuple[int, ...], block: Expr,
               i: Expr, top: Expr, channels: int) -> None:
        """One block of input channels (one channel if planar) through row i of the kernel."""
        simd, window = self.simd, self.window
        line = simd.bind(self._line(block, top + i * window.dilation[0])
                         + (column * window.stride[1] - window.pad[1]) * self._unit)
        before = block if self.planar else block * simd.lanes
        weights = simd.bind(self.origin + before * (window.kernel[0] * window.kernel[1] * self._width)
                            + i * (window.kernel[1] * channels * self._width))
        if self.planar and simd.by_element:  # one load serves several columns of the kernel
            self._products(sums, pixels, range(tap, tap + taps), line, weights, 1, channels)
            return
        with simd.loop(taps, start=tap) as t:
            step = _step(channels, len(pixels) * len(sums[0]))
            with simd.loop(channels // step) as chunk:
                base = simd.bind(line + t * (window.dilation[1] * self._unit) + chunk * step)
                self._products(sums, pixels, range(1), base,
                               simd.bind(weights + (t * channels + chunk * step) * self._width), step, channels)

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

    def _products(self, sums: list[list[Any]], pixels: tuple[int, ...], taps: range, base: Expr, weights: Expr,
                  step: int, channels: int) -> None:
        """Straight-line code for `step` channels of these columns of the kernel."""
        simd, window = self.simd, self.window
        places = {(tap, r, k): (r * window.stride[1] + tap * window.dilation[1]) * self._unit + k
                  for tap in taps for r in pixels for k in range(step)}
        spread = dict(zip(places, simd.elements(self.data, base, list(places.values()), not self.planar), strict=True))
        for tap in taps:
            for k in range(step):
                row = [simd.bind(simd.load(self.weights, weights + (tap * channels + k) * self._width + v * simd.lanes),
                                 "w") for v in range(len(sums[0]))]
                for r in pixels:
                    for v, weight in enumerate(row):
                        simd.assign(sums[r][v], simd.value(sums[r][v]) + spread[tap, r, k] * weight)


def _segments(taps: Sequence[tuple[int, ...]], together: int) -> list[tuple[int, int, tuple[int, ...]]]:
    """(first column of the kernel, how many, outputs they reach): columns that reach the same outputs share a loop, but
    for fewer than `together`, which LLVM would unroll: in straight-line code it keeps what neighbouring columns have in
    common in registers that there are not."""
    found: list[tuple[int, int, tuple[int, ...]]] = []
    for tap, pixels in enumerate(taps):
        if found and found[-1][2] == pixels:
            found[-1] = (found[-1][0], found[-1][1] + 1, pixels)
        elif pixels:
            found.append((tap, 1, pixels))
    return [piece for first, count, pixels in found
            for piece in ([(first, count, pixels)] if count >= together else
                          [(first + i, 1, pixels) for i in range(count)])]


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
    if decision.algorithm != "direct":
        return winograd.plan(window, weights, decision, data, tensors)
    planar = window.ci <= _PLANAR_CHANNELS and tensors.is_image(data) and not tensors.is_blocked(data)
    rows_first = reads_rows_first(window, tensors.cpu)
    return Plan(f"conv{window.kernel[0]}x{window.kernel[1]}", decision,
                (tensors.plain(data) if planar else tensors.block(data),
                 pack(weights, decision, tensors.lanes, planar)),
                lambda simd, epilogue: emit(simd, window, decision, epilogue, planar, rows_first),
                (window, planar, decision),
                window.multiply_adds)
