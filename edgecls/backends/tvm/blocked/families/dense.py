"""Dense layers over several images: a tile of images times vectors of outputs stays in registers over all inputs.

`convolution` runs a dense layer image by image, and would read its weights, the most of what there is to read, once for
each. Here every vector of weights is multiplied by one input of each image of the tile. Weights are packed as there, so
that all batch sizes share them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.product import parts, product_rows
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Window, balanced
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Cpu


def applies(window: Window) -> bool:
    """Several images, each read whole by one window."""
    return window.n > 1 and window.groups == 1 and window.kernel == (window.h, window.w) and not any(window.pad)


def decide(window: Window, decision: Decision, cpu: Cpu) -> Decision:
    """decision: for one image."""
    vectors = decision.tile[1]
    images = balanced(window.n, product_rows(vectors, cpu))[0]
    lanes = cpu.vector_bits // 32
    return msgspec.structs.replace(decision, tile=(images, vectors),
                                   reason=f"{images} images x {vectors * lanes} channels stay in registers over "
                                          f"{window.ci} x {window.h} x {window.w}")


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, streams: bool = False) -> Any:
    """streams: of `convolution.pack`. Parameters: input, weights, operands of the epilogue, output."""
    lanes, (images, vectors) = simd.lanes, decision.tile
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    pixels, whole, rest = window.h * window.w, *divmod(window.ci, lanes)
    stride = blocks_in * pixels * lanes
    data = simd.parameter("data", window.n * stride)
    weights = simd.parameter("weights", blocks_out * lanes * window.ci * pixels)
    others = epilogue.parameters(simd, blocks_out * lanes, window.n, 1)
    out = simd.parameter("out", window.n * blocks_out * lanes)
    sizes = balanced(window.n, images)

    def products(sums: list[list[Any]], place: Expr, row: Expr, channels: int) -> None:
        """What `channels` inputs add. place: of the first in the first image; row: of its weights."""
        width = len(sums[0])
        spread = simd.elements(data, place, [r * stride + k for k in range(channels) for r in range(len(sums))])
        for k in range(channels):
            vector = [simd.bind(simd.load(weights, row + (k * step + v * between) * lanes), "w") for v in range(width)]
            for r, sums_of in enumerate(sums):
                for v, weight in enumerate(vector):
                    simd.assign(sums_of[v], simd.value(sums_of[v]) + spread[k * len(sums) + r] * weight)

    offset = 0
    for part in parts(window.co, lanes, vectors):
        width = part.vectors * lanes
        step, between = (1, window.ci * pixels) if streams else (part.vectors, 1)
        with simd.loop(part.count, parallel=True) as group:
            first = part.first + group * part.vectors
            origin = simd.bind(offset + group * (width * window.ci * pixels))
            begin = 0
            for size in dict.fromkeys(sizes):
                with simd.loop(sizes.count(size)) as index:
                    image = simd.bind(begin + index * size)
                    start = [epilogue.start(simd, others, first + v) for v in range(part.vectors)]
                    sums = [[simd.register(value) for value in start] for _ in range(size)]
                    with simd.loop(whole * pixels) as i:
                        products(sums, simd.bind(image * stride + i * lanes),
                                 simd.bind(origin + i * (lanes * step * lanes)), lanes)
                    if rest:
                        with simd.loop(pixels) as i:
                            products(sums, simd.bind(image * stride + (whole * pixels + i) * lanes),
                                     simd.bind(origin + (whole * pixels * lanes + i * rest) * (step * lanes)), rest)
                    for r in range(size):
                        for v in range(part.vectors):
                            place = simd.bind(((image + r) * blocks_out + first + v) * lanes)
                            value = epilogue.apply(simd, simd.value(sums[r][v]), others, first + v, image + r, place)
                            simd.store(out, place, value)
                begin += size * sizes.count(size)
        offset += part.count * width * window.ci * pixels
    return simd.function([data, weights, *others, out])
