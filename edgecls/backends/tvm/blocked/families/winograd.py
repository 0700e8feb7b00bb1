"""Winograd convolution F(m x m, 3 x 3): fewer multiplications, more additions.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), with the points of winograd_transforms.py. A
task takes a strip of tiles of m x m outputs through all three phases: what lies between them stays in cache.

    input transform    (m+2)^2 values per tile and channel -> V [value][block of channels][tile][lane]
    product            for each value a small matrix product with the transformed weights -> M [value][tile][lane]
    output transform   m^2 results per tile, epilogue, store; for one group of output vectors at a time

A strip of whole images ends with narrower tiles, which have fewer values (winograd_tiles.py). Other strips are cut
anywhere: results outside the image are not stored, and the last strip starts early where the tiles do not divide: what
it computes again comes out the same. Pixels outside the image are zeros that are chosen, not read.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import (
    crowded,
    memory_bytes_per_cycle,
    parts,
    product_cost,
    product_rows,
    product_vectors,
)
from edgecls.backends.tvm.blocked.families.winograd_steps import Factors
from edgecls.backends.tvm.blocked.families.winograd_strip import TOGETHER, Strip, tiles
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Window, balanced
from edgecls.backends.tvm.schedule import Algorithm, Decision
from edgecls.backends.tvm.winograd_tiles import Tiles
from edgecls.backends.tvm.winograd_transforms import transform_weights
from edgecls.types import Array, Cpu

ALGORITHMS: dict[int, Algorithm] = {2: "winograd-f2", 4: "winograd-f4", 6: "winograd-f6"}
SIZES = tuple(ALGORITHMS)


def applies(window: Window) -> bool:
    return (window.kernel == (3, 3) and window.stride == (1, 1) and window.dilation == (1, 1) and window.groups == 1
            and max(window.pad) <= 1)


def product_instructions(window: Window, strip: Tiles, most: int, vectors: int, cpu: Cpu, depth: int) -> float:
    """product_cost of all values of a strip."""
    return sum(len(q.rows) * len(q.columns) * product_cost(window.co, balanced(q.tiles, most), vectors, cpu, depth,
                                                           shared=crowded(cpu)) for q in strip.quarters)


def decide(window: Window, cpu: Cpu, m: int) -> Decision:
    """The strip and the register tile that cost least: tiles computed twice at the image's end, tiles too small for the
    registers, weights read again for every strip, and inputs read from memory for every group because the strip is too
    large for the cache all count. A third cache hides that for strips of one register tile; longer ones were slower."""
    lanes = cpu.vector_bits // 32
    count = math.prod(tiles(window, m))
    weights = (m + 2) ** 2 * window.ci * -(-window.co // lanes) * lanes * 4 / memory_bytes_per_cycle(cpu)
    best, choice = float("inf"), (1, 1, 1)
    for vectors in product_vectors(window.co, cpu):
        for most in range(1, product_rows(vectors, cpu) + 1):
            for strip in {min(count, most * k) for k in range(1, 9)} | {count}:
                own = Tiles.of(m, 1, (window.oh, window.ow), strip)
                if cpu.cache.l3 and strip > most and not fits(window, own, cpu):
                    continue
                products = product_instructions(window, own, most, vectors, cpu, -(-window.ci // lanes))
                again = 0 if cpu.cache.l3 else moved(window, own, vectors, cpu)
                cost = -(-count // strip) * (products + weights + again)
                if (cost, -strip) < (best, -choice[2]):
                    best, choice = cost, (max(balanced(strip, most)), vectors, strip)
    rows, vectors, strip = choice
    return Decision(algorithm=ALGORITHMS[m], layout=f"NCHW{lanes}c", tile=(rows, vectors), strip=strip,
                    reason=f"{m} x {m} results from {(m + 2) ** 2} products; strips of {strip} tiles")


def fits(window: Window, strip: Tiles, cpu: Cpu) -> bool:
    """Whether the second cache keeps a strip's inputs."""
    return _bytes(window, strip, cpu) <= cpu.cache.l2 * 3 // 4


def _bytes(window: Window, strip: Tiles, cpu: Cpu) -> int:
    lanes = cpu.vector_bits // 32
    return strip.products * -(-window.ci // lanes) * lanes * 4


def moved(window: Window, strip: Tiles, vectors: int, cpu: Cpu) -> float:
    """Cycles in which the inputs of a strip that the cache cannot keep come from memory, for each group of outputs."""
    groups = sum(part.count for part in parts(window.co, cpu.vector_bits // 32, vectors))
    return 0.0 if fits(window, strip, cpu) else groups * _bytes(window, strip, cpu) / memory_bytes_per_cycle(cpu)


def pack(weights: Array, decision: Decision, m: int, lanes: int) -> Array:
    """OIHW -> for each group of output vectors: [value][input channel][output], flat."""
    co = weights.shape[0]
    transformed = transform_weights(weights, m)  # (values, ci, co)
    values, ci, _ = transformed.shape
    groups = []
    for part in parts(co, lanes, decision.tile[1]):
        width = part.vectors * lanes
        for group in range(part.count):
            start = (part.first + group * part.vectors) * lanes
            block = np.zeros((values, ci, width), np.float32)
            block[:, :, : max(0, min(width, co - start))] = transformed[:, :, start:start + width]
            groups.append(block.reshape(-1))
    return np.concatenate(groups)


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, m: int, cores: int) -> Any:
    """Parameters: input, transformed weights, operands of the epilogue, output."""
    lanes, values = simd.lanes, (m + 2) ** 2
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    data = simd.parameter("data", window.n * blocks_in * lanes * window.h * window.w)
    factors = Factors.of(window, m, False, lanes)
    weights = simd.parameter("weights", blocks_out * lanes * window.ci * values + len(factors.array))
    others = epilogue.parameters(simd, blocks_out * lanes, window.n, window.oh * window.ow)
    out = simd.parameter("out", window.n * blocks_out * lanes * window.oh * window.ow)
    count, strip = math.prod(tiles(window, m)), decision.strip
    strips = -(-count // strip)
    found = parts(window.co, lanes, decision.tile[1])

    own = Tiles.of(m, 1, (window.oh, window.ow), strip)

    def first(image: Expr, number: Expr) -> Expr:
        inside = simd.bind(simd.at_most(number * strip, count - strip)) if strips > 1 else 0
        return simd.bind(image * count + inside)

    def kernel(image: Expr, number: Expr, transformed: Any, multiplies: bool = True) -> Strip:
        products = simd.scratch("products", own.products * decision.tile[1] * lanes) if multiplies else None
        return Strip(simd, window, own, decision.tile[0], False, factors, data, weights, weights, epilogue, others,
                     out, first(image, number), transformed, products,
                     simd.scratch("half", max(TOGETHER, decision.tile[1]) * values * lanes))

    size = own.products * blocks_in * lanes
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


def plan(window: Window, weights: Array, decision: Decision, data: Any, tensors: Tensors) -> Plan:
    m = int(decision.algorithm[-1])
    packed = np.concatenate([pack(weights, decision, m, tensors.lanes),
                             Factors.of(window, m, False, tensors.lanes).array])
    return Plan(f"conv3x3_f{m}", decision, (tensors.block(data), packed),
                lambda simd, epilogue: emit(simd, window, decision, epilogue, m, tensors.cpu.cores),
                (window, decision.code), window.multiply_adds,
                # the last strip computes some tiles again where the strips do not divide them
                in_place=math.prod(tiles(window, m)) % decision.strip == 0)
