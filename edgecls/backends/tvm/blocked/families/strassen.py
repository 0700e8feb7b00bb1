"""Pointwise convolution, which is a matrix product, by Strassen's algorithm: 7 products of half the size instead of 8.

Strassen, "Gaussian Elimination is not Optimal" (1969), in Winograd's form (Higham, "Accuracy and Stability of Numerical
Algorithms", 2nd edition, section 23.1) and with a basis for the weights in which every product needs at most a
difference of two (after Karstadt and Schwartz, "Matrix Multiplication, a Little Faster", 2017). The pixels of an image
and its channels are halved, A11 A12 | A21 A22, and so are the channels that come in and go out, B11 B12 | B21 B22:

    when compiling     T = B22 - B12 + B11, in the place of B12
    once per image     S1 = A21 + A22   S2 = S1 - A11   S3 = A11 - A21   S4 = A12 - S2
    for each tile      M = S1 (B22 - T)
                       U1 = A11 B11           C11 = U1 + A12 B21
                       U2 = U1 + S2 T         C12 = U2 + M + S4 B22
                       U3 = U2 + S3 (T - B11)   C21 = U3 + A22 (B21 - T)   C22 = U3 + M

A tile's sums stay in registers from one product to the next: only M, U1, U2 and U3 are set aside, in the first cache.
Differences of weights are made where they are loaded: a broadcast from memory leaves x86 the registers, and Zen adds
beside its multiply-adds at no cost. Two pipes that do both gain nothing (`pays`). An odd image has one row of zeros
more below, whose results are left out.

What is added to one another should be of one size: beside something large the last bits of something small are lost. So
the weights of each output are divided by a power of two near their norm, and its results multiplied by it.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import (
    cache_bytes_per_cycle,
    crowded,
    parts,
    product_cost,
    product_rows,
    product_vectors,
)
from edgecls.backends.tvm.blocked.families.strassen_tile import Half, Tile, ahead, combine
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.backends.tvm.blocked.window import Window, balanced
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Array, Cpu

# cycles to share out work twice instead of once, with weights of the first group that nobody has fetched; around a
# product of one tile; to set a sum aside or take it up again, 9 times per tile; for what is made of one vector of each
# half of an image
_CALL, _PRODUCT, _SUM, _HALVES = 15_000, 60, 1.5, 14
# of the second cache, for the weights of a group, beside those that are fetched for the next
_OF_CACHE = 0.6
# of the largest norm of an input channel's weights
_UNUSED = 1e-6


def applies(window: Window, cpu: Cpu) -> bool:
    """Halves are whole vectors."""
    lanes = cpu.vector_bits // 32
    return (cpu.arch == "x86_64" and window.pointwise and window.groups == 1 and window.h * window.w > 1
            and window.ci % (2 * lanes) == 0 and -(-window.co // lanes) % 2 == 0)


def pays(cpu: Cpu) -> bool:
    """Sums and differences, and what is set aside, take as long as before beside products that take half: on an Intel
    server core 0.99 to 1.34 times what direct convolution takes."""
    return not crowded(cpu)


def decide(window: Window, cpu: Cpu) -> Decision:
    """The register tile that costs least."""
    lanes, half = cpu.vector_bits // 32, Half.of(window, cpu.vector_bits // 32)
    outputs = half.blocks_out * lanes
    tiles = ((most, vectors) for vectors in product_vectors(outputs, cpu, far=True)
             if vectors == 1 or 2 * vectors * window.ci * lanes * 4 <= cpu.cache.l2 * _OF_CACHE
             for most in range(1, product_rows(vectors, cpu) + 1) if max(balanced(half.rows, most)) == most)
    rows, vectors = min(tiles, key=lambda tile: product_cost(outputs, balanced(half.rows, tile[0]), tile[1], cpu,
                                                             half.blocks_in, far=1.0))
    return Decision(algorithm="strassen", layout=f"NCHW{lanes}c", tile=(rows, vectors),
                    reason=f"7 products of half the size instead of 8; {rows} pixels x {vectors * lanes} channels stay "
                           f"in registers over {window.ci // 2} channels")


def workspace(window: Window, cpu: Cpu) -> int:
    """Bytes of what is made of an image's quarters."""
    return Half.of(window, cpu.vector_bits // 32).made * cpu.vector_bits // 8


def cycles(window: Window, cpu: Cpu, efficiency: float) -> float:
    """Predicted for one core. efficiency: of a product tile's multiply-adds."""
    lanes, half = cpu.vector_bits // 32, Half.of(window, cpu.vector_bits // 32)
    rows, vectors = decide(window, cpu).tile
    stall = max(1.0, cpu.fma_latency * cpu.fma_pipes / (rows * vectors))
    products = 7 * half.rows * half.blocks_out * half.blocks_in * lanes * stall / cpu.fma_pipes / efficiency
    groups = sum(part.count for part in parts(half.blocks_out * lanes, lanes, vectors))
    tiles = groups * -(-half.rows // rows)
    around = (_CALL + 7 * tiles * _PRODUCT + 9 * _SUM * half.rows * half.blocks_out
              + _HALVES * half.rows * half.blocks_in)
    of_half = half.rows * half.blocks_in * lanes * 4
    if 9 * of_half > cpu.cache.l2 * 3 // 4:
        around += groups * 7 * of_half / cache_bytes_per_cycle(cpu)
    return window.n * (products + around)


def pack(weights: Array, decision: Decision, lanes: int) -> Array:
    """(Co, Ci, 1, 1) -> for each group of output vectors of a half: B11, B21, T, B22 as [input channel][output]; behind
    them what the results are multiplied by; flat."""
    scales = _scales(weights[:, :, 0, 0])
    b = _transformed(weights[:, :, 0, 0] / scales[:, None], lanes)
    packed = []
    for part in parts(b.shape[-1], lanes, decision.tile[1]):
        for group in range(part.count):
            first = (part.first + group * part.vectors) * lanes
            packed.append(b[..., first:first + part.vectors * lanes].reshape(-1))
    return np.concatenate([*packed, np.pad(scales, (0, -len(scales) % lanes))])


def relative_error(weights: Array, sample: Array) -> float:
    """max |Strassen in float32 - product in float64| of an output / max |product| of it, the worst of all outputs.
    weights: (Co, Ci); sample: (pixels, Ci), float32; pixels and Ci even."""
    exact = sample.astype(np.float64) @ weights.T.astype(np.float64)
    scales = _scales(weights)
    (b11, b21), (t, b22) = _transformed(weights / scales[:, None], 1)
    (a11, a12), (a21, a22) = ((half[:, :len(b11)], half[:, len(b11):]) for half in np.split(sample, 2))
    s1 = a21 + a22
    s2 = s1 - a11
    m, u1 = s1 @ (b22 - t), a11 @ b11
    u2 = u1 + s2 @ t
    u3 = u2 + (a11 - a21) @ (t - b11)
    found = np.block([[u1 + a12 @ b21, u2 + m + (a12 - s2) @ b22], [u3 + a22 @ (b21 - t), u3 + m]])
    peaks = np.abs(exact).max(0)
    errors = np.abs(found[:, :len(weights)].astype(np.float64) * scales - exact).max(0)
    return float(np.max(errors[peaks > 0] / peaks[peaks > 0], initial=0.0))


def error(weights: Array, pixels: int) -> float:
    """The larger `relative_error` of two samples of random numbers: of channels that are alike, and of channels as
    large as their weights are small. weights: (Co, Ci)."""
    alike = np.random.default_rng(0).standard_normal((pixels, weights.shape[1]), np.float32)
    norms = np.linalg.norm(weights.astype(np.float64), axis=0)
    largest = norms.max(initial=0.0)
    # what has no weight to speak of is not used
    used = norms > _UNUSED * largest
    unlike = alike * np.where(used, largest / np.where(used, norms, 1.0), 1.0).astype(np.float32)
    return max(relative_error(weights, alike), relative_error(weights, unlike))


def _scales(weights: Array) -> Array:
    """(Co,) float32: powers of two near the norms of (Co, Ci), 1 where that is zero."""
    norms = np.linalg.norm(weights.astype(np.float64), axis=1)
    exponents = np.clip(np.round(np.log2(np.where(norms > 0, norms, 1.0))), -100, 100)
    powers: Array = np.exp2(exponents).astype(np.float32)
    return powers


def _transformed(weights: Array, lanes: int) -> Array:
    """(Co, Ci) -> (half of the outputs, half of the inputs, input channel, output): B11, B21, T, B22. Zeros fill the
    outputs up to halves of whole vectors."""
    co, ci = weights.shape
    padded = np.zeros((-(-co // (2 * lanes)) * 2 * lanes, ci))
    padded[:co] = weights
    b = padded.reshape(2, -1, 2, ci // 2).transpose(0, 2, 3, 1)
    b[1, 0] = b[1, 1] - b[1, 0] + b[0, 0]
    rounded: Array = b.astype(np.float32)
    return rounded


def plan(window: Window, weights: Array, decision: Decision, data: Any, tensors: Tensors) -> Plan:
    line = tensors.cpu.cache.line // 4
    return Plan("strassen", decision, (tensors.block(data), pack(weights, decision, tensors.lanes)),
                lambda simd, epilogue: emit(simd, window, decision, epilogue, line), (window, decision.code),
                window.multiply_adds, in_place=True)


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, line: int) -> Any:
    """Parameters: input, weights, operands of the epilogue, output. line: floats in a line of the cache."""
    lanes, half = simd.lanes, Half.of(window, simd.lanes)
    pixels, blocks_out = half.rows + half.below, 2 * half.blocks_out
    data = simd.parameter("data", window.n * 2 * half.blocks_in * pixels * lanes)
    weights = simd.parameter("weights", blocks_out * lanes * (window.ci + 1))
    others = epilogue.parameters(simd, blocks_out * lanes, window.n, pixels)
    out = simd.parameter("out", window.n * blocks_out * pixels * lanes)
    sizes = balanced(half.rows, decision.tile[0])
    with simd.loop(window.n) as image:
        made = simd.scratch("made", half.made * lanes)
        with simd.loop(half.blocks_in, parallel=True) as block:
            combine(simd, half, data, made, image, block)
        offset = 0
        for part in parts(half.blocks_out * lanes, lanes, decision.tile[1]):
            size = 2 * part.vectors * lanes * window.ci
            with simd.loop(part.count * len(sizes), parallel=True) as task:
                group, number = simd.divide(task, (part.count, len(sizes)))
                tile = Tile(simd, half, part, data, made, weights, epilogue, others, out, image, group,
                             simd.bind(offset + group * size), number, ahead(half, part, line, len(sizes), lanes))
                for start, count, rows, below in _runs(sizes, half):
                    alone = count == len(sizes)
                    with nullcontext() if alone else simd.when(simd.all(number >= start, number < start + count)):
                        tile.write(simd.bind(sum(sizes[:start]) + (number - start) * rows), rows, below)
            offset += part.count * size
    return simd.function([data, weights, *others, out])


def _runs(sizes: list[int], half: Half) -> list[tuple[int, int, int, int]]:
    """(first, how many, pixels, pixels in the lower half) of equal tiles. The last of an odd image has one less
    below."""
    below = [*sizes[:-1], sizes[-1] - (half.rows - half.below)]
    found: list[tuple[int, int, int, int]] = []
    for number, (rows, lower) in enumerate(zip(sizes, below, strict=True)):
        if found and found[-1][2:] == (rows, lower):
            found[-1] = (found[-1][0], found[-1][1] + 1, rows, lower)
        else:
            found.append((number, 1, rows, lower))
    return found
