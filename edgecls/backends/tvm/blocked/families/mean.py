"""The mean of each channel over the whole image."""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.backends.tvm.schedule import Decision

# independent sums of an image's mean: more than an FMA's latency times its pipes on every target
_CHAINS = 8


def emit(simd: Simd, images: int, channels: int, pixels: int, epilogue: Epilogue) -> Any:
    """Mean over all pixels: (N, C, H, W) -> (N, C, 1, 1), in _CHAINS sums that are added pairwise at the end."""
    lanes, blocks = simd.lanes, -(-channels // simd.lanes)
    data = simd.parameter("data", images * blocks * lanes * pixels)
    others = epilogue.parameters(simd, blocks * lanes, images, 1)
    out = simd.parameter("out", images * blocks * lanes)
    chains = min(_CHAINS, pixels)
    with simd.loop(images * blocks, parallel=True) as task:
        image, block = simd.divide(task, (images, blocks))
        base = simd.bind(task * (pixels * lanes))
        sums = [simd.register(simd.load(data, base + i * lanes)) for i in range(chains)]
        if pixels // chains > 1:
            with simd.loop(pixels // chains - 1, start=1) as step:
                for i in range(chains):
                    at = base + (step * chains + i) * lanes
                    simd.assign(sums[i], simd.value(sums[i]) + simd.load(data, at))
        for i in range(pixels % chains):
            at = base + (pixels // chains * chains + i) * lanes
            simd.assign(sums[i], simd.value(sums[i]) + simd.load(data, at))
        values = [simd.value(s) for s in sums]
        while len(values) > 1:
            values = [a + b for a, b in zip(values[::2], values[1::2], strict=False)] + values[len(values) // 2 * 2:]
        value = values[0] * simd.number(1.0 / pixels)
        place = simd.bind(task * lanes)
        simd.store(out, place, epilogue.apply(simd, value, others, block, image, place))
    return simd.function([data, *others, out])


def plan(found: Group, tensors: Tensors) -> Plan:
    data = found.anchor.inputs[0]
    n, c, h, w = tensors.image(data)
    decision = Decision(algorithm="mean", layout=f"NCHW{tensors.lanes}c", reason=f"{h * w} pixels per channel")
    return Plan("mean", decision, (tensors.block(data),),
                lambda simd, epilogue: emit(simd, n, c, h * w, epilogue), (n, c, h * w))
