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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import (
    STRAIGHT_LINE,
    Part,
    memory_bytes_per_cycle,
    parts,
    pieces,
    product_cost,
    product_rows,
    product_vectors,
)
from edgecls.backends.tvm.blocked.multiply import multiply
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.turn import NEIGHBOURS, Turn, products
from edgecls.backends.tvm.blocked.window import Window, balanced
from edgecls.backends.tvm.schedule import Algorithm, Decision
from edgecls.backends.tvm.winograd_programs import Program, Step, input_program, output_program
from edgecls.backends.tvm.winograd_transforms import transform_weights
from edgecls.types import Array, Cpu

ALGORITHMS: dict[int, Algorithm] = {2: "winograd-f2", 4: "winograd-f4", 6: "winograd-f6"}
SIZES = tuple(ALGORITHMS)


# blocks of channels whose transforms share a loop
TOGETHER = 4


def applies(window: Window) -> bool:
    return (window.kernel == (3, 3) and window.stride == (1, 1) and window.dilation == (1, 1) and window.groups == 1
            and max(window.pad) <= 1)


def tiles(window: Window, m: int) -> tuple[int, int]:
    return -(-window.oh // m), -(-window.ow // m)


def decide(window: Window, cpu: Cpu, m: int) -> Decision:
    """The strip and the register tile that cost least: tiles computed twice at the image's end, tiles too small for the
    registers, weights read again for every strip, and strips too large for the cache all count."""
    lanes = cpu.vector_bits // 32
    count = math.prod(tiles(window, m))
    per_tile = (m + 2) ** 2 * -(-window.ci // lanes) * lanes * 4
    fits = max(1, cpu.cache.l2 * 3 // 4 // per_tile)
    weights = (m + 2) ** 2 * window.ci * -(-window.co // lanes) * lanes * 4 / memory_bytes_per_cycle(cpu)
    best, choice = float("inf"), (1, 1, 1)
    for vectors in product_vectors(window.co, cpu):
        for most in range(1, product_rows(vectors, cpu) + 1):
            for strip in {min(count, most * k) for k in range(1, 9)} | {count}:
                if strip > fits and strip > most:
                    continue
                strips = -(-count // strip)
                depth = -(-window.ci // lanes)
                one = product_cost(window.co, balanced(strip, most), vectors, cpu, depth, shared=False)
                cost = strips * ((m + 2) ** 2 * one + weights)
                if (cost, -strip) < (best, -choice[2]):
                    best, choice = cost, (max(balanced(strip, most)), vectors, strip)
    rows, vectors, strip = choice
    return Decision(algorithm=ALGORITHMS[m], layout=f"NCHW{lanes}c", tile=(rows, vectors), strip=strip,
                    reason=f"{m} x {m} results from {(m + 2) ** 2} products; strips of {strip} tiles")


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


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, m: int, cores: int) -> Any:
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

    def first(image: Expr, number: Expr) -> Expr:
        inside = simd.bind(simd.at_most(number * strip, count - strip)) if strips > 1 else 0
        return simd.bind(image * count + inside)

    def kernel(image: Expr, number: Expr, transformed: Any, multiplies: bool = True) -> Strip:
        products = simd.scratch("products", values * strip * decision.tile[1] * lanes) if multiplies else None
        return Strip(simd, window, m, strip, decision.tile[0], input_program(m), data, weights, epilogue, others, out,
                     first(image, number), transformed, products,
                     simd.scratch("half", max(TOGETHER, decision.tile[1]) * values * lanes))

    size = values * blocks_in * strip * lanes
    # where the weights of each part begin
    offsets = [part.first * lanes * window.ci * values for part in found]
    if window.n * strips >= cores:
        with simd.loop(window.n * strips, parallel=True) as task:
            image, number = simd.divide(task, (window.n, strips))
            alone = kernel(image, number, simd.scratch("transformed", size))
            with simd.loop(strip) as tile:
                alone.transform_input(tile)
            for offset, part in zip(offsets, found, strict=True):
                with simd.loop(part.count) as group:
                    alone.outputs(part, offset, group)
    else:
        # too few strips for all cores: these transform the input together, and then share the groups of outputs
        with simd.loop(window.n * strips) as each:
            image, number = simd.divide(each, (window.n, strips))
            transformed = simd.scratch("transformed", size)
            with simd.loop(strip, parallel=True) as tile:
                kernel(image, number, transformed, multiplies=False).transform_input(tile)
            for offset, part in zip(offsets, found, strict=True):
                with simd.loop(part.count, parallel=True) as group:
                    kernel(image, number, transformed).outputs(part, offset, group)
    return simd.function([data, weights, *others, out])


@dataclass
class Strip:
    """Tiles `first` .. `first + strip`, counted through all images. weights: transformed ones. products: of one group
    of output vectors. half: between the two passes of a transform."""

    simd: Simd
    window: Window
    m: int
    strip: int
    rows: int
    input_program: Program
    data: Any
    weights: Any
    epilogue: Epilogue
    others: Sequence[Any]
    out: Any
    first: Expr
    transformed: Any
    products: Any
    half: Any

    def transform_input(self, tile: Expr) -> None:
        simd, window, m, lanes = self.simd, self.window, self.m, self.simd.lanes
        t, blocks = m + 2, -(-window.ci // lanes)
        program = self.input_program
        image, y, x = self._origin(tile)
        y, x = simd.bind(y - window.pad[0]), simd.bind(x - window.pad[1])
        inside = simd.bind(simd.all(y >= 0, y <= window.h - t, x >= 0, x <= window.w - t))
        for count, first, size in pieces(blocks, TOGETHER):
            with simd.loop(count) as index:
                start = first + index * size
                with simd.when(inside):
                    self._columns(program, image, start, size, lambda plane, j, i: simd.load(
                        self.data, (plane + (y + i) * window.w + x + j) * lanes))
                with simd.when(simd.tir.Not(inside)):
                    self._columns(program, image, start, size,
                                  lambda plane, j, i: self._or_zero(plane, y + i, x + j))
                with simd.loop(size * t) as row:
                    block, i = simd.divide(row, (size, t))
                    values = [simd.bind(simd.load(self.half, (row * t + j) * lanes)) for j in range(t)]
                    for j, value in enumerate(run(simd, program, values)):
                        place = ((i * t + j) * blocks + start + block) * self.strip + tile
                        simd.store(self.transformed, place * lanes, value)

    def _columns(self, program: Program, image: Expr, start: Expr, size: int,
                 pixel: Callable[[Expr, Expr, int], Expr]) -> None:
        """The first 1-D transform of `size` blocks of channels. One loop over blocks and columns: a loop over columns
        alone LLVM would unroll, and keep its values in registers that there are not."""
        simd, window, t = self.simd, self.window, self.m + 2
        blocks = -(-window.ci // simd.lanes)
        with simd.loop(size * t) as column:
            block, j = simd.divide(column, (size, t))
            plane = simd.bind((image * blocks + start + block) * (window.h * window.w))
            values = [simd.bind(pixel(plane, j, i)) for i in range(t)]
            for i, value in enumerate(run(simd, program, values)):
                simd.store(self.half, ((block * t + i) * t + j) * simd.lanes, value)

    def _or_zero(self, plane: Expr, y: Expr, x: Expr) -> Expr:
        """The pixel, or zero where it lies outside: the address is moved inside first."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        near_y = simd.at_least(simd.at_most(y, window.h - 1), 0)
        near_x = simd.at_least(simd.at_most(x, window.w - 1), 0)
        value = simd.load(self.data, (plane + near_y * window.w + near_x) * lanes)
        there = simd.all(y >= 0, y < window.h, x >= 0, x < window.w)
        return simd.tir.Select(simd.tir.Broadcast(there, lanes), value, simd.number(0.0))

    def _origin(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        """A tile's image, and row and column of its first output there."""
        simd = self.simd
        image, row, column = simd.divide(simd.bind(self.first + tile), (self.window.n, *tiles(self.window, self.m)))
        return image, simd.bind(row * self.m), simd.bind(column * self.m)

    def outputs(self, part: Part, offset: int, group: Expr) -> None:
        """One group of output vectors of the strip."""
        size = part.vectors * self.simd.lanes * self.window.ci * (self.m + 2) ** 2
        self.multiply(part, self.simd.bind(offset + group * size), size // (self.m + 2) ** 2, 0, self.window.ci,
                      lambda place: self.simd.number(0.0))
        self.transform_output(part, self.simd.bind(part.first + group * part.vectors))

    def multiply(self, part: Part, weights: Expr, stride: int, first: Expr, channels: int,
                 start: Callable[[Expr], Expr]) -> None:
        """`channels` input channels from block `first` on. weights: where they begin, those of each value
        `stride` floats after the last. start: what a sum begins with, by the place where it will be stored."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        width, blocks = part.vectors * lanes, -(-window.ci // lanes)
        whole, rest = divmod(channels, lanes)
        sizes = balanced(self.strip, self.rows)
        with simd.loop((self.m + 2) ** 2) as value:
            begin = 0
            for size in dict.fromkeys(sizes):
                with simd.loop(sizes.count(size)) as index:
                    tile = simd.bind(begin + index * size)
                    places = [[(value * self.strip + tile + r) * width + v * lanes for v in range(part.vectors)]
                              for r in range(size)]
                    sums = [[simd.register(start(place)) for place in row] for row in places]
                    for near, depth, count in [(0, lanes, whole), (whole, rest, 1 if rest else 0)]:
                        for turns, begun, units in pieces(count, STRAIGHT_LINE if simd.by_element else 1):
                            block = near + begun
                            found = products(NEIGHBOURS, [tuple(range(size))], depth, part.vectors, lanes)
                            turn = Turn(size, part.vectors, found, self.strip * lanes, depth * width, lanes, units)
                            base = ((value * blocks + (first + block)) * self.strip + tile) * lanes
                            multiply(simd, turn, turns, sums, self.transformed, simd.bind(base), self.weights,
                                     simd.bind(weights + value * stride + block * lanes * width))
                    for row, sums_of in zip(places, sums, strict=True):
                        for place, total in zip(row, sums_of, strict=True):
                            simd.store(self.products, place, simd.value(total))
                begin += size * sizes.count(size)

    def transform_output(self, part: Part, vector: Expr) -> None:
        simd, window, m, lanes = self.simd, self.window, self.m, self.simd.lanes
        t, program = m + 2, output_program(m)
        # unrolled, the rows of the larger transforms would need more registers than there are
        rows = simd.hidden(part.vectors * m) if m > 2 else part.vectors * m
        with simd.loop(self.strip) as tile:
            image, y, x = self._origin(tile)
            with simd.loop(part.vectors * t) as column:
                v, j = simd.divide(column, (part.vectors, t))
                base = simd.bind(((j * self.strip + tile) * part.vectors + v) * lanes)
                values = [simd.bind(simd.load(self.products, base + i * (t * self.strip * part.vectors * lanes)))
                          for i in range(t)]
                for k, value in enumerate(run(simd, program, values)):
                    simd.store(self.half, ((v * m + k) * t + j) * lanes, value)
            with simd.loop(rows) as row:
                v, k = simd.divide(row, (part.vectors, m))
                if window.oh % m == 0:
                    self._row(program, image, vector + v, row, y + k, x)
                else:
                    with simd.when(y + k < window.oh):
                        self._row(program, image, vector + v, row, y + k, x)

    def _row(self, program: Program, image: Expr, vector: Expr, row: Expr, y: Expr, x: Expr) -> None:
        """The second 1-D transform, epilogue and stores of one row of outputs."""
        simd, window, m, lanes = self.simd, self.window, self.m, self.simd.lanes
        t, blocks_out = m + 2, -(-window.co // lanes)
        vector = simd.bind(vector)
        start = self.epilogue.start(simd, self.others, vector)
        values = [simd.bind(simd.load(self.half, (row * t + j) * lanes)) for j in range(t)]
        place = simd.bind((((image * blocks_out + vector) * window.oh + y) * window.ow + x) * lanes)
        for column, result in enumerate(run(simd, program, values)):
            if column < m - (-window.ow % m):
                self._store(result + start, image, vector, place + column * lanes)
            else:
                with simd.when(x + column < window.ow):
                    self._store(result + start, image, vector, place + column * lanes)

    def _store(self, value: Expr, image: Expr, vector: Expr, place: Expr) -> None:
        simd = self.simd
        simd.store(self.out, place, self.epilogue.apply(simd, simd.bind(value), self.others, vector, image, place))


def execute(simd: Simd, step: Step, values: Mapping[int, Expr]) -> Expr:
    factor, other = float(step.factor), values[step.multiplicand]
    if step.addend is None:
        return simd.bind(simd.number(factor) * other)
    addend = values[step.addend]
    return simd.bind(
        addend + other if factor == 1 else addend - other if factor == -1 else addend + simd.number(factor) * other)


def run(simd: Simd, program: Program, given: Sequence[Expr]) -> list[Expr]:
    """A transform's steps on vectors."""
    values = dict(enumerate(given))
    for step in program.steps:
        values[step.destination] = execute(simd, step, values)
    return [values[v] for v in program.outputs]


def plan(window: Window, weights: Array, decision: Decision, data: Any, tensors: Tensors) -> Plan:
    m = int(decision.algorithm[-1])
    return Plan(f"conv3x3_f{m}", decision, (tensors.block(data), pack(weights, decision, m, tensors.lanes)),
                lambda simd, epilogue: emit(simd, window, decision, epilogue, m, tensors.cpu.cores),
                (window, decision), window.multiply_adds,
                # the last strip computes some tiles again where the strips do not divide them
                in_place=math.prod(tiles(window, m)) % decision.strip == 0)
