"""Winograd convolution whose kernel transforms the weights itself: no more of them than direct convolution has.

For layers whose transformed weights are more than the model may take, or take longer to read than to make. The input
is transformed as in winograd.py, for all tiles of a strip, which are as many as make sense: every strip transforms the
weights again. Then, for each group of output vectors:

    for each chunk of input channels
        weights     9 values per input channel and output vector -> U [value][input channel][output]
        products    added to the sums M [value][tile][output]
    output transform, epilogue, store

U and M stay in the second cache. Cores share the tiles, then the groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked import neon, neon_weights
from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import (
    STRAIGHT_LINE,
    Part,
    cache_bytes_per_cycle,
    memory_bytes_per_cycle,
    pieces,
    product_rows,
)
from edgecls.backends.tvm.blocked.families.winograd import ALGORITHMS, moved, product_instructions
from edgecls.backends.tvm.blocked.families.winograd_steps import Factor, Factors, execute
from edgecls.backends.tvm.blocked.families.winograd_strip import TOGETHER, Strip, tiles
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Window, balanced
from edgecls.backends.tvm.schedule import Decision
from edgecls.backends.tvm.winograd_programs import Program, weights_program
from edgecls.backends.tvm.winograd_tiles import Tiles
from edgecls.backends.tvm.winograd_transforms import scale_weights
from edgecls.types import Array, Cpu

# of the second cache for transformed weights: four cores may share it, and each also has inputs, sums and new weights
_OF_CACHE = 1 / 12
# floats in a line of the cache
_LINE = 16


def decide(window: Window, cpu: Cpu, m: int) -> Decision:
    """The strip and the register tile that cost least: weights transformed again for every strip, inputs that are read
    from memory for every group because the strip is too large for the cache, sums that each chunk takes up again, tiles
    too small for the registers all count."""
    lanes, values = cpu.vector_bits // 32, (m + 2) ** 2
    count = window.n * math.prod(tiles(window, m))
    again = weights_cost(window, cpu, m)
    best, choice = float("inf"), (1, 1, 1)
    width, blocks = _width(lanes), -(-window.co // lanes)
    for vectors in range(min(width, blocks), min(4, blocks) + 1, width):
        channels = chunk(window, cpu, m, vectors)
        chunks = -(-window.ci // channels)
        for most in range(1, product_rows(vectors, cpu) + 1):
            for strip in {min(count, most * k) for k in range(1, 9)} | {count}:
                own = Tiles.of(m, window.n, (window.oh, window.ow), strip)
                products = chunks * (product_instructions(window, own, most, vectors, cpu, -(-channels // lanes))
                                     + own.products * -(-window.co // lanes))
                cost = -(-count // strip) * (again + products + moved(window, own, vectors, cpu))
                if (cost, -strip) < (best, -choice[2]):
                    best, choice = cost, (max(balanced(strip, most)), vectors, strip)
    rows, vectors, strip = choice
    return Decision(algorithm=ALGORITHMS[m], layout=f"NCHW{lanes}c", tile=(rows, vectors), strip=strip,
                    chunk=chunk(window, cpu, m, vectors),
                    reason=f"{m} x {m} results from {values} products; strips of {strip} tiles; weights transformed on "
                           f"the device")


def chunk(window: Window, cpu: Cpu, m: int, vectors: int) -> int:
    """Input channels at a time: whole blocks, and whole turns of the product's loop where there is room."""
    lanes = cpu.vector_bits // 32
    most = int(cpu.cache.l2 * _OF_CACHE) // ((m + 2) ** 2 * vectors * lanes * 4 * lanes)
    blocks = most - most % STRAIGHT_LINE if most > STRAIGHT_LINE else max(1, most)
    return min(blocks, -(-window.ci // lanes)) * lanes


def weights_cost(window: Window, cpu: Cpu, m: int) -> float:
    """Cycles to transform all weights once: loads and arithmetic, or the way of the result, which is stored, makes room
    in the first cache and comes back from the second, or memory's, whichever takes longest."""
    lanes, t = cpu.vector_bits // 32, m + 2
    vectors = window.ci * -(-window.co // lanes)
    each = max((3 + t) * len(weights_program(m).steps) + 9, 3 * t * t * lanes * 4 / cache_bytes_per_cycle(cpu))
    return max(vectors * each, vectors * 9 * lanes * 4 / memory_bytes_per_cycle(cpu))


def pack(weights: Array, m: int, lanes: int) -> Array:
    """OIHW -> for vectors of outputs that are transformed together: [input channel][row][column][vector][output],
    scaled, flat."""
    co, ci = weights.shape[:2]
    blocks = -(-co // lanes)
    padded = np.zeros((blocks * lanes, ci, 9), np.float32)
    padded[:co] = scale_weights(weights, m).reshape(co, ci, 9)
    return np.concatenate([padded[first * lanes:(first + width) * lanes].reshape(width, lanes, ci, 9)
                           .transpose(2, 3, 0, 1).reshape(-1) for first, width in _together(blocks, lanes)])


def _together(vectors: int, lanes: int) -> list[tuple[int, int]]:
    """(first, how many) of the vectors that are transformed together."""
    return [(first + i * size, size) for count, first, size in pieces(vectors, _width(lanes)) for i in range(count)]


def _width(lanes: int) -> int:
    return neon_weights.TOGETHER if lanes == neon.LANES else 1


def _parts(window: Window, lanes: int, vectors: int) -> list[Part]:
    """Groups of `vectors` vectors, whole pairs but for the last one, and what is left."""
    return [Part(first, size, count) for count, first, size in pieces(-(-window.co // lanes), vectors)]


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, m: int) -> Any:
    """Parameters: input, weights, operands of the epilogue, output."""
    lanes, values, strip = simd.lanes, (m + 2) ** 2, decision.strip
    (rows, vectors), channels = decision.tile, decision.chunk
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    data = simd.parameter("data", window.n * blocks_in * lanes * window.h * window.w)
    factors = Factors.of(window, m, True, lanes)
    weights = simd.parameter("weights", blocks_out * lanes * window.ci * 9 + len(factors.array))
    others = epilogue.parameters(simd, blocks_out * lanes, window.n, window.oh * window.ow)
    out = simd.parameter("out", window.n * blocks_out * lanes * window.oh * window.ow)
    count = window.n * math.prod(tiles(window, m))
    strips = -(-count // strip)
    own = Tiles.of(m, window.n, (window.oh, window.ow), strip)
    with simd.loop(strips) as number:
        first = simd.bind(simd.at_most(number * strip, count - strip)) if strips > 1 else 0
        transformed = simd.scratch("transformed", own.products * blocks_in * lanes)

        def kernel(made: Any, products: Any) -> Strip:
            return Strip(simd, window, own, rows, True, factors, data, weights, made, epilogue, others, out, first,
                         transformed, products, simd.scratch("half", max(TOGETHER, vectors) * values * lanes))

        with simd.loop(strip, parallel=True) as tile:
            kernel(None, None).transform_input(tile)
        for part in _parts(window, lanes, vectors):
            with simd.loop(part.count, parallel=True) as group:
                made = simd.scratch("made", values * (channels * vectors * lanes + _LINE))
                products = simd.scratch("products", own.products * vectors * lanes)
                vector = simd.bind(part.first + group * part.vectors)
                _Group(simd, window, m, part, weights, kernel(made, products), vector).outputs(channels)
    return simd.function([data, weights, *others, out])


@dataclass
class _Group:
    """`part.vectors` vectors of outputs from `vector` on."""

    simd: Simd
    window: Window
    m: int
    part: Part
    weights: Any
    strip: Strip
    vector: Expr

    def outputs(self, channels: int) -> None:
        """channels: at a time."""
        simd, lanes, sums = self.simd, self.simd.lanes, self.strip.products
        with simd.loop(self.strip.tiles.products * self.part.vectors) as place:
            simd.store(sums, place * lanes, simd.number(0.0))
        whole, rest = divmod(self.window.ci, lanes)
        for count, first, size in [*pieces(whole, channels // lanes), *([(1, whole, 0)] if rest else [])]:
            with simd.loop(count) as index:
                block, depth = simd.bind(first + index * size), size * lanes or rest
                self._transform(block, depth)
                self.strip.multiply(self.part, 0, self._stride(depth), block, depth,
                                    lambda place: simd.load(sums, place))
        self.strip.transform_output(self.part, self.vector)

    def _stride(self, channels: int) -> int:
        """Floats from one value's weights to the next. A line that takes several vectors stays in the first cache until
        it is full, where those of all values would meet in few sets if the distance was a power of two. One vector that
        fills a line leaves at once."""
        lanes = self.simd.lanes
        return channels * self.part.vectors * lanes + (_LINE if lanes < _LINE else 0)

    def _transform(self, block: Expr, channels: int) -> None:
        """The weights of `channels` input channels from `block` on -> [value][input channel][output]."""
        simd, lanes = self.simd, self.simd.lanes
        forward, stride = self.part.vectors * lanes, self._stride(channels)
        for first, width in _together(self.part.vectors, lanes):
            kernels = simd.bind(((self.vector + first) * self.window.ci + block * (lanes * width)) * (9 * lanes))
            if simd.assembly == "neon":
                program = weights_program(self.m)
                name, text = neon_weights.function(program, width, stride, forward)
                factors = self.strip.factors.place(program, self.weights)
                simd.call(name, text, [(self.weights, kernels), (self.strip.weights, first * lanes),
                                       (self.weights, factors)], [channels])
                continue
            factor = self.strip.factor(weights_program(self.m))
            with simd.loop(channels) as channel, simd.loop(simd.hidden(width) if width > 1 else 1) as v:
                self._kernel(factor, simd.bind(kernels + (channel * (9 * width) + v) * lanes), width,
                             simd.bind(channel * forward + (first + v) * lanes), stride)

    def _kernel(self, factor: Factor, place: Expr, width: int, to: Expr, stride: int) -> None:
        """One input channel's, for one vector of outputs."""
        simd, lanes, program = self.simd, self.simd.lanes, weights_program(self.m)
        columns = [[simd.bind(simd.load(self.weights, place + (i * 3 + j) * width * lanes)) for i in range(3)]
                   for j in range(3)]
        for i, row in _results(simd, program, columns, factor):
            for j, (value,) in _results(simd, program, [row], factor):
                simd.store(self.strip.weights, to + (i * (self.m + 2) + j) * stride, value)


def _results(simd: Simd, program: Program, given: Sequence[Sequence[Expr]],
             factor: Factor) -> Iterator[tuple[int, list[Expr]]]:
    """A transform of several sequences at once: the number of each result with its values, as soon as they are made.
    What is done with them there is written before the next: all of them would not fit into the registers."""
    known = [dict(enumerate(values)) for values in given]
    numbers = {value: i for i, value in enumerate(program.outputs)}
    for value in range(program.inputs + len(program.steps)):
        if value >= program.inputs:
            for values in known:
                values[value] = execute(simd, program.steps[value - program.inputs], values, factor)
        if value in numbers:
            yield numbers[value], [values[value] for values in known]


def plan(window: Window, weights: Array, decision: Decision, data: Any, tensors: Tensors) -> Plan:
    m = int(decision.algorithm[-1])
    packed = np.concatenate([pack(weights, m, tensors.lanes), Factors.of(window, m, True, tensors.lanes).array])
    return Plan(f"conv3x3_f{m}", decision, (tensors.block(data), packed),
                lambda simd, epilogue: emit(simd, window, decision, epilogue, m), (window, decision.code),
                window.multiply_adds,
                # the last strip computes some tiles again where the strips do not divide them
                in_place=window.n * math.prod(tiles(window, m)) % decision.strip == 0)
