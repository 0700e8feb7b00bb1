"""Layer norm: each token's channels get mean 0 and variance 1, then a scale and a shift per channel.

Ba, Kiros and Hinton, "Layer Normalization" (2016): (x - mean) / sqrt(variance + epsilon) * scale + shift. A few tokens
at a time are summed, their squared differences summed, and written: memory is read once, the second and third time
they come from the first cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.lanes import across, only_first
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import balanced
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Array

# tokens at a time: enough independent sums to hide the latency of an addition
_TOKENS = 8


def emit(simd: Simd, images: int, channels: int, pixels: int, epsilon: float, epilogue: Epilogue) -> Any:
    """Parameters: input, scale, shift, operands of the epilogue, output; scale and shift are padded to whole blocks."""
    lanes, blocks = simd.lanes, -(-channels // simd.lanes)
    data = simd.parameter("data", images * blocks * lanes * pixels)
    scale, shift = simd.parameter("scale", blocks * lanes), simd.parameter("shift", blocks * lanes)
    others = epilogue.parameters(simd, blocks * lanes, images, pixels)
    out = simd.parameter("out", images * blocks * lanes * pixels)
    sizes, start = balanced(pixels, _TOKENS), 0
    for size in sorted(set(sizes), reverse=True):
        with simd.loop(images * sizes.count(size), parallel=True) as task:
            image, step = simd.divide(task, (images, sizes.count(size)))
            first = simd.bind(start + step * size)

            def place(block: Expr, image: Expr = image, first: Expr = first) -> Expr:
                return simd.bind(((image * blocks + block) * pixels + first) * lanes)

            means = _sums(simd, data, place, size, channels, lambda x, _: x)
            means = [simd.bind(m * simd.number(1.0 / channels)) for m in means]
            squares = _sums(simd, data, place, size, channels, _squared_distance(means))
            factors = [simd.bind(simd.number(1.0) / simd.tir.sqrt(s * simd.number(1.0 / channels)
                                                                 + simd.number(epsilon))) for s in squares]
            with simd.loop(blocks, rolled=size == 1) as block:
                at = place(block)
                gain, offset = (simd.bind(simd.load(b, block * lanes)) for b in (scale, shift))
                for t in range(size):
                    value = (simd.load(data, at + t * lanes) - means[t]) * factors[t] * gain + offset
                    result = epilogue.apply(simd, simd.bind(value), others, block, image, at + t * lanes)
                    simd.store(out, at + t * lanes, result)
        start += size * sizes.count(size)
    return simd.function([data, scale, shift, *others, out])


def _squared_distance(means: Sequence[Expr]) -> Callable[[Expr, int], Expr]:
    return lambda x, token: (x - means[token]) * (x - means[token])


def _sums(simd: Simd, data: Any, place: Callable[[Expr], Expr], tokens: int, channels: int,
          term: Callable[[Expr, int], Expr]) -> Sequence[Expr]:
    """For each token the sum of its terms, in all lanes. What lies beyond the channels does not count."""
    whole, rest = divmod(channels, simd.lanes)
    sums = [simd.register(simd.number(0.0)) for _ in range(tokens)]
    with simd.loop(whole, rolled=tokens == 1) as block:
        at = place(block)
        for t in range(tokens):
            value = simd.bind(simd.load(data, at + t * simd.lanes))
            simd.assign(sums[t], simd.value(sums[t]) + term(value, t))
    if rest:
        at = place(whole)
        for t in range(tokens):
            value = simd.bind(simd.load(data, at + t * simd.lanes))
            simd.assign(sums[t], simd.value(sums[t]) + only_first(simd, term(value, t), rest, 0.0))
    return [across(simd, simd.value(s), lambda a, b: a + b) for s in sums]


def plan(found: Group, tensors: Tensors) -> Plan:
    data, scale, shift = found.anchor.inputs
    n, c, h, w = tensors.image(data)
    epsilon = found.anchor.epsilon
    decision = Decision(algorithm="norm", layout=f"NCHW{tensors.lanes}c", reason=f"{c} channels of {h * w} tokens")
    return Plan("norm", decision, (tensors.block(data), _padded(scale, tensors.lanes), _padded(shift, tensors.lanes)),
                lambda simd, epilogue: emit(simd, n, c, h * w, epsilon, epilogue), (n, c, h * w, epsilon),
                in_place=True)


def _padded(values: Array, lanes: int) -> Array:
    return np.pad(values.astype(np.float32), (0, -values.size % lanes))
