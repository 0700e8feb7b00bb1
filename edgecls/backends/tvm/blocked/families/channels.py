"""Concatenation, splitting and shuffling of channels: the same pixels with other channels in other lanes.

Each output channel is one input channel: (input number, channel). Where a whole block moves at once it is a copy; else
the lanes of each output vector are picked from the vectors that hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.schedule import Decision

Source = tuple[int, int]


def emit(simd: Simd, images: int, pixels: int, inputs: Sequence[int], sources: Sequence[Source]) -> Any:
    """inputs: channels of each. sources: for each output channel where it comes from. Parameters: inputs, output."""
    lanes = simd.lanes
    blocks = [-(-c // lanes) for c in inputs]
    out_blocks = -(-len(sources) // lanes)
    data = [simd.parameter(f"data{i}", images * b * lanes * pixels) for i, b in enumerate(blocks)]
    out = simd.parameter("out", images * out_blocks * lanes * pixels)
    with simd.loop(images * pixels, parallel=True) as task:
        image, pixel = simd.divide(task, (images, pixels))
        loaded: dict[tuple[int, int], Expr] = {}
        for block in range(out_blocks):
            picks = list(sources[block * lanes:(block + 1) * lanes])
            needed = list(dict.fromkeys((i, c // lanes) for i, c in picks))
            for i, b in needed:
                if (i, b) not in loaded:
                    at = ((image * blocks[i] + b) * pixels + pixel) * lanes
                    loaded[i, b] = simd.bind(simd.load(data[i], at), "a")
            value = simd.pick([loaded[n] for n in needed],
                              [needed.index((i, c // lanes)) * lanes + c % lanes for i, c in picks])
            simd.store(out, ((image * out_blocks + block) * pixels + pixel) * lanes, value)
    return simd.function([*data, out])


def plan(found: Group, tensors: Tensors) -> Plan:
    node = found.anchor
    images = [tensors.image(i) for i in node.inputs]
    n, _, h, w = images[0]
    inputs = tuple(c for _, c, _, _ in images)
    decision = Decision(algorithm="channels", layout=f"NCHW{tensors.lanes}c", reason="lanes move, pixels stay")
    return Plan("channels", decision, tuple(map(tensors.block, node.inputs)),
                lambda simd, _: emit(simd, n, h * w, inputs, node.sources), (n, h * w, inputs, node.sources))
