"""Turns of a reduction as code: the processor's own instructions where we write them, LLVM's vectors elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgecls.backends.tvm.blocked import avx, neon
from edgecls.backends.tvm.blocked.simd import Assembly, Expr, Simd
from edgecls.backends.tvm.blocked.turn import Product, Turn
from edgecls.types import Cpu

# with any of these switched off LLVM has no vectors of 512 bits
_AVX512 = {"avx2", "fma", "f16c", "avx512f", "avx512vl"}


def assembly_of(cpu: Cpu) -> Assembly:
    """Which instructions a CPU's turns are written in; "" leaves them to LLVM."""
    lanes, features = cpu.vector_bits // 32, set(cpu.features)
    if cpu.arch == "aarch64" and lanes == neon.LANES:
        return "neon"
    if cpu.arch == "x86_64" and (lanes, cpu.vector_registers) == avx.AVX512 and features >= _AVX512:
        return "avx"
    if cpu.arch == "x86_64" and (lanes, cpu.vector_registers) == avx.AVX2 and features >= {"avx2", "fma"}:
        return "avx"
    return ""


def multiply(simd: Simd, turn: Turn, count: Expr, sums: Sequence[Sequence[Any]], data: Any, base: Expr, weights: Any,
             first: Expr, ahead: Expr = 0) -> None:
    """`count` turns, 0 or more, one behind the other. base: of the first unit's data; first: of its weights; ahead: of
    the weights that turns fetch, which only those of AVX do; all in floats."""
    if isinstance(count, int) and count == 0:
        return
    looped = not (isinstance(count, int) and count == 1)
    places = [(register, 0) for row in sums for register in row]
    if simd.assembly == "avx" and avx.fits(turn, simd.lanes):
        places += [(data, base), (weights, first), *([(weights, ahead)] if turn.fetched else [])]
        simd.call(*avx.function(turn, looped, simd.lanes), places, [count] if looped else [])
        return
    if simd.assembly == "neon" and not turn.alone:
        # loads begin where the first is, so that no address lies outside of what is read
        places += [(data, base + turn.first), (weights, first)]
        simd.call(*neon.function(turn, looped), places, [count] if looped else [])
        return
    with simd.loop(count) as index:
        for unit in range(turn.units):
            number = index * turn.units + unit
            _unit(simd, turn, sums, data, simd.bind(base + number * turn.distance), weights,
                  simd.bind(first + number * turn.weights))


def _unit(simd: Simd, turn: Turn, sums: Sequence[Sequence[Any]], data: Any, base: Expr, weights: Any,
          first: Expr) -> None:
    loaded: dict[int, Expr] = {}
    lanes = [simd.lanes] * (turn.vectors - 1) + [simd.lanes // 2 if turn.half else simd.lanes]

    def weight(product: Product, v: int) -> Expr:
        return simd.bind(simd.load(weights, first + (product.weights + v * turn.between), lanes[v]), "w")

    def element(place: int, lane: int) -> Expr:
        if place not in loaded:
            loaded[place] = simd.bind(simd.load(data, base + place), "a")
        return simd.element(loaded[place], lane)

    for product in turn.products:
        if not simd.by_element or turn.alone:
            # all vectors of weights wait for one element after the other
            vectors = [weight(product, v) for v in range(turn.vectors)]
            for row, place, lane in product.terms:
                factors = {n: simd.bind(simd.spread(data, base + (place + lane), n), "a") for n in dict.fromkeys(lanes)}
                for v, value in enumerate(vectors):
                    simd.assign(sums[row][v], simd.value(sums[row][v]) + factors[lanes[v]] * value)
            continue
        elements = [(row, element(place, lane)) for row, place, lane in product.terms]
        for v in range(turn.vectors):
            # one vector of weights at a time: with all of them loaded LLVM runs out of registers
            value = weight(product, v)
            for row, factor in elements:
                simd.assign(sums[row][v], simd.value(sums[row][v]) + factor * value)
