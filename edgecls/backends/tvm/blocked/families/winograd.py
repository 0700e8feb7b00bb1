"""Winograd convolution F(m x m, 3 x 3): fewer multiplications, more additions.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), with the points of winograd_transforms.py. A
task takes a strip of tiles of m x m outputs through all three phases: what lies between them stays in cache.

    input transform    (m+2)^2 values per tile and channel -> V [value][block of channels][tile][lane]
    product            for each value a small matrix product with the transformed weights -> M [value][tile][lane]
    output transform   m^2 results per tile, epilogue, store; for one group of output vectors at a time

Pixels outside the image are zeros that are chosen, not read; results outside are not stored. The last strip starts
early where the tiles do not divide: what it computes again comes out the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.convolution import Part, parts
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Window, balanced
from edgecls.backends.tvm.schedule import Algorithm, Decision
from edgecls.backends.tvm.winograd_programs import Program, input_program, output_program
from edgecls.backends.tvm.winograd_transforms import transform_weights
from edgecls.types import Array, Cpu

_ALGORITHMS: dict[int, Algorithm] = {2: "winograd-f2", 4: "winograd-f4", 6: "winograd-f6"}
SIZES = tuple(_ALGORITHMS)


def applies(window: Window) -> bool:
    return (window.kernel == (3, 3) and window.stride == (1, 1) and window.dilation == (1, 1) and window.groups == 1
            and max(window.pad) <= 1)


def tiles(window: Window, m: int) -> tuple[int, int]:
    return -(-window.oh // m), -(-window.ow // m)


def decide(window: Window, cpu: Cpu, m: int) -> Decision:
    """A strip's transformed input fills at most half of the second-level cache; its tiles fill register tiles."""
    lanes = cpu.vector_bits // 32
    count = math.prod(tiles(window, m))
    vectors, most = (1, 14) if cpu.arch == "x86_64" else _by_element(-(-window.co // lanes), cpu.vector_registers)
    per_tile = (m + 2) ** 2 * -(-window.ci // lanes) * lanes * 4
    fits = max(1, cpu.cache.l2 // 2 // per_tile)
    strip = min(count, max(most, fits // most * most), 4 * most)
    strips = -(-count // strip)
    strip = -(-count // strips)
    rows = max(balanced(strip, most))
    return Decision(algorithm=_ALGORITHMS[m], layout=f"NCHW{lanes}c", tile=(rows, vectors), strip=strip,
                    reason=f"{m} x {m} results from {(m + 2) ** 2} products; strips of {strip} tiles")


def _by_element(channel_vectors: int, registers: int) -> tuple[int, int]:
    vectors = next(v for v in (4, 3, 2, 1) if channel_vectors % v == 0 or (channel_vectors > 8 and v == 4))
    return vectors, (registers - 3) // (vectors + 1)


def pack(weights: Array, decision: Decision, m: int, lanes: int) -> Array:
    """OIHW -> for each group of output vectors: [value][input channel][output], flat."""
    co = weights.shape[0]
    transformed = transform_weights(weights, m)  # (values, ci, co)
    values, ci, _ = transformed.shape
    pieces = []
    for part in parts(co, lanes, decision.tile[1]):
        width = part.vectors * lanes
        for group in range(part.count):
            start = (part.first + group * part.vectors) * lanes
            block = np.zeros((values, ci, width), np.float32)
            block[:, :, : max(0, min(width, co - start))] = transformed[:, :, start:start + width]
            pieces.append(block.reshape(-1))
    return np.concatenate(pieces)


def scratch_bytes(window: Window, decision: Decision, m: int, lanes: int) -> int:
    """What one thread needs between the phases."""
    values = (m + 2) ** 2
    blocks = -(-window.ci // lanes)
    return 4 * lanes * (values * blocks * decision.strip + values * decision.strip * decision.tile[1] + 2 * values)


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, m: int) -> Any:
    """Parameters: input, transformed weights, operands of the epilogue, output."""
    lanes, values = simd.lanes, (m + 2) ** 2
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    data = simd.parameter("data", window.n * blocks_in * lanes * window.h * window.w)
    weights = simd.parameter("weights", blocks_out * lanes * window.ci * values)
    others = epilogue.parameters(simd, blocks_out * lanes, window.n, window.oh * window.ow)
    out = simd.parameter("out", window.n * blocks_out * lanes * window.oh * window.ow)
    count, strip = math.prod(tiles(window, m)), decision.strip
    strips = -(-count // strip)
    found = parts(window.co, lanes, decision.tile[1])
    groups = sum(p.count for p in found)
    # few strips: several tasks share one, and each transforms its input again, which costs little beside the products
    shares = next(s for s in (1, 2, 4) if strips * s >= 8 or s == 4 or groups < 2 * s)
    with simd.loop(window.n * strips * shares, parallel=True) as task:
        image, number, share = simd.divide(task, (window.n, strips, shares))
        first = simd.bind(simd.at_most(number * strip, count - strip)) if strips > 1 else 0
        kernel = _Strip(simd, window, m, strip, decision.tile[0], data, weights, epilogue, others, out, image, first,
                        simd.scratch("transformed", values * blocks_in * strip * lanes),
                        simd.scratch("products", values * strip * decision.tile[1] * lanes),
                        simd.scratch("half", values * lanes))
        kernel.transform_input()
        offset = 0
        for part in found:
            size = part.vectors * lanes * window.ci * values
            share_of = -(-part.count // shares)
            start = simd.bind(share * share_of) if shares > 1 else 0
            length = simd.bind(simd.at_most(part.count - start, share_of)) if shares > 1 else part.count
            with simd.loop(length, start=start) as group:
                kernel.multiply(part, simd.bind(offset + group * size))
                kernel.transform_output(part, simd.bind(part.first + group * part.vectors))
            offset += size * part.count
    return simd.function([data, weights, *others, out])


@dataclass
class _Strip:
    """Tiles `first` .. `first + strip` of one image."""

    simd: Simd
    window: Window
    m: int
    strip: int
    rows: int
    data: Any
    weights: Any
    epilogue: Epilogue
    others: Sequence[Any]
    out: Any
    image: Expr
    first: Expr
    transformed: Any
    products: Any
    half: Any

    def transform_input(self) -> None:
        simd, window, m, lanes = self.simd, self.window, self.m, self.simd.lanes
        t, blocks = m + 2, -(-window.ci // lanes)
        program = input_program(m)
        with simd.loop(self.strip) as tile:
            y, x = self._origin(tile)
            y, x = simd.bind(y - window.pad[0]), simd.bind(x - window.pad[1])
            inside = simd.bind(simd.all(y >= 0, y <= window.h - t, x >= 0, x <= window.w - t))
            with simd.loop(blocks) as block:
                plane = simd.bind((self.image * blocks + block) * (window.h * window.w))
                with simd.when(inside), simd.loop(t) as j:
                    base = simd.bind((plane + y * window.w + x + j) * lanes)
                    self._column(program, j, [simd.load(self.data, base + i * window.w * lanes) for i in range(t)])
                with simd.when(simd.tir.Not(inside)), simd.loop(t) as j:
                    self._column(program, j, [self._or_zero(plane, y + i, simd.bind(x + j)) for i in range(t)])
                with simd.loop(t) as i:
                    row = [simd.load(self.half, (i * t + j) * lanes) for j in range(t)]
                    for j, value in enumerate(run(simd, program, row)):
                        place = ((i * t + j) * blocks + block) * self.strip + tile
                        simd.store(self.transformed, place * lanes, value)

    def _column(self, program: Program, j: Expr, values: list[Expr]) -> None:
        simd, t = self.simd, self.m + 2
        for i, value in enumerate(run(simd, program, [simd.bind(v) for v in values])):
            simd.store(self.half, (i * t + j) * simd.lanes, value)

    def _or_zero(self, plane: Expr, y: Expr, x: Expr) -> Expr:
        """The pixel, or zero where it lies outside: the address is moved inside first."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        near_y = simd.at_least(simd.at_most(y, window.h - 1), 0)
        near_x = simd.at_least(simd.at_most(x, window.w - 1), 0)
        value = simd.load(self.data, (plane + near_y * window.w + near_x) * lanes)
        there = simd.all(y >= 0, y < window.h, x >= 0, x < window.w)
        return simd.tir.Select(simd.tir.Broadcast(there, lanes), value, simd.number(0.0))

    def _origin(self, tile: Expr) -> tuple[Expr, Expr]:
        """Row and column of a tile's first output."""
        simd = self.simd
        across = tiles(self.window, self.m)[1]
        number = simd.bind(self.first + tile)
        return (simd.bind(simd.tir.floordiv(number, across) * self.m),
                simd.bind(simd.tir.floormod(number, across) * self.m))

    def multiply(self, part: Part, weights: Expr) -> None:
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        width, blocks = part.vectors * lanes, -(-window.ci // lanes)
        whole, rest = divmod(window.ci, lanes)
        sizes = balanced(self.strip, self.rows)
        with simd.loop((self.m + 2) ** 2) as value:
            begin = 0
            for size in dict.fromkeys(sizes):
                with simd.loop(sizes.count(size)) as index:
                    tile = simd.bind(begin + index * size)
                    sums = [[simd.register(simd.number(0.0)) for _ in range(part.vectors)] for _ in range(size)]
                    for count, start, channels in ((whole, 0, lanes), (1, whole, rest)):
                        if not count or not channels:
                            continue
                        with simd.loop(count) as offset:
                            block = start + offset
                            base = simd.bind(((value * blocks + block) * self.strip + tile) * lanes)
                            rows = simd.bind(weights + (value * window.ci + block * lanes) * width)
                            self._products(sums, base, rows, channels, width)
                    for r in range(size):
                        for v in range(part.vectors):
                            place = (value * self.strip + tile + r) * width + v * lanes
                            simd.store(self.products, place, simd.value(sums[r][v]))
                begin += size * sizes.count(size)

    def _products(self, sums: list[list[Any]], base: Expr, rows: Expr, channels: int, width: int) -> None:
        simd, lanes = self.simd, self.simd.lanes
        offsets = [r * lanes + k for k in range(channels) for r in range(len(sums))]
        spread = simd.elements(self.transformed, base, offsets, True)
        for k in range(channels):
            row = [simd.bind(simd.load(self.weights, rows + k * width + v * lanes), "w") for v in range(width // lanes)]
            for r, sums_of in enumerate(sums):
                for v, weight in enumerate(row):
                    simd.assign(sums_of[v], simd.value(sums_of[v]) + spread[k * len(sums) + r] * weight)

    def transform_output(self, part: Part, vector: Expr) -> None:
        simd, window, m, lanes = self.simd, self.window, self.m, self.simd.lanes
        t, blocks_out, program = m + 2, -(-window.co // lanes), output_program(m)
        with simd.loop(self.strip) as tile:
            y, x = self._origin(tile)
            for v in range(part.vectors):
                with simd.loop(t) as j:
                    values = [simd.load(self.products, (((i * t + j) * self.strip + tile) * part.vectors + v) * lanes)
                              for i in range(t)]
                    for k, value in enumerate(run(simd, program, [simd.bind(x) for x in values])):
                        simd.store(self.half, (k * t + j) * lanes, value)
                plane = simd.bind((self.image * blocks_out + vector + v) * window.oh)
                rows: Expr = m if window.oh % m == 0 else simd.bind(simd.at_most(window.oh - y, m))
                start = self.epilogue.start(simd, self.others, vector + v)
                with simd.loop(rows) as k:
                    results = run(simd, program, [simd.load(self.half, (k * t + j) * lanes) for j in range(t)])
                    place = simd.bind(((plane + y + k) * window.ow + x) * lanes)
                    for column, result in enumerate(results):
                        if column < m - (-window.ow % m):
                            self._store(result + start, vector + v, place + column * lanes)
                        else:
                            with simd.when(x + column < window.ow):
                                self._store(result + start, vector + v, place + column * lanes)

    def _store(self, value: Expr, vector: Expr, place: Expr) -> None:
        simd = self.simd
        simd.store(self.out, place, self.epilogue.apply(simd, simd.bind(value), self.others, vector, self.image, place))


def run(simd: Simd, program: Program, given: Sequence[Expr]) -> list[Expr]:
    """A transform's steps on vectors."""
    values = dict(enumerate(given))
    for step in program.steps:
        factor, addend, other = float(step.factor), values[step.addend], values[step.multiplicand]
        values[step.destination] = simd.bind(
            addend + other if factor == 1 else addend - other if factor == -1 else addend + simd.number(factor) * other)
    return [values[v] for v in program.outputs]
