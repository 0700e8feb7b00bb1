"""What no other kernel could take as its epilogue: one pass over the tensor."""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.expression import describe, has_polynomials
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.backends.tvm.blocked.window import balanced
from edgecls.backends.tvm.schedule import Decision

# vectors per step: enough to cover the latency of a polynomial's chain of FMAs; AArch64 has registers for its constants
# and for what so many need
_VECTORS, _FEW = 4, 2


def emit(simd: Simd, images: int, channels: int, pixels: int, epilogue: Epilogue) -> Any:
    """Parameters: input, other operands, output; all blocked."""
    lanes, blocks = simd.lanes, -(-channels // simd.lanes)
    data = simd.parameter("data", images * blocks * lanes * pixels)
    others = epilogue.parameters(simd, blocks * lanes, images, pixels)
    out = simd.parameter("out", images * blocks * lanes * pixels)
    with simd.loop(images * blocks, parallel=True) as task:
        image, block = simd.divide(task, (images, blocks))
        sizes = balanced(pixels, _FEW if simd.assembly == "neon" and has_polynomials(epilogue.expression) else _VECTORS)
        start = 0
        for size in sorted(set(sizes), reverse=True):
            with simd.loop(sizes.count(size)) as step:
                place = simd.bind((task * pixels + start + step * size) * lanes)
                for i in range(size):
                    value = simd.bind(simd.load(data, place + i * lanes))
                    result = epilogue.apply(simd, value, others, block, image, place + i * lanes)
                    simd.store(out, place + i * lanes, result)
            start += size * sizes.count(size)
    return simd.function([data, *others, out])


def plan(found: Group, tensors: Tensors) -> Plan:
    data = found.anchor.inputs[0]
    n, c, h, w = tensors.image(data)
    decision = Decision(algorithm="elementwise", layout=f"NCHW{tensors.lanes}c",
                        reason=describe(found.expression)[:200])
    return Plan("elementwise", decision, (tensors.block(data),),
                lambda simd, epilogue: emit(simd, n, c, h * w, epilogue), (n, c, h * w), in_place=True)
