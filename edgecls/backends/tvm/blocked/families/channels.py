"""Concatenation, splitting and shuffling of channels: the same pixels with other channels in other lanes.

Each output channel is one input channel: (input number, channel). Blocks that move whole are copied in a loop; of all
others the lanes are picked from the vectors that hold them. What follows, as the norm behind DenseNet's concatenations,
is computed on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import pieces
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.schedule import Decision

Source = tuple[int, int]

# pieces of an image that threads share; vectors per turn of a copying loop; picked vectors whose sources are kept
_TASKS, _VECTORS, _PICKED = 8, 4, 8


@dataclass(frozen=True)
class Segment:
    """Output blocks `block` .. `block + count`: copies of an input's, or picked ones."""

    block: int
    count: int
    copied: Source | None
    """Input number and its first block."""


def segments(sources: Sequence[Source], lanes: int) -> list[Segment]:
    """All output blocks, neighbours that belong together as one."""
    found: list[Segment] = []
    for block in range(-(-len(sources) // lanes)):
        number, channel = sources[block * lanes]
        picks = sources[block * lanes:(block + 1) * lanes]
        whole = channel % lanes == 0 and list(picks) == [(number, channel + i) for i in range(len(picks))]
        last = found[-1] if found else None
        if last and whole and last.copied and last.copied[0] == number and last.copied[1] + last.count == (
                channel // lanes):
            found[-1] = Segment(last.block, last.count + 1, last.copied)
        elif last and not whole and not last.copied and last.count < _PICKED:
            found[-1] = Segment(last.block, last.count + 1, None)
        else:
            found.append(Segment(block, 1, (number, channel // lanes) if whole else None))
    return found


def emit(simd: Simd, images: int, pixels: int, inputs: Sequence[int], sources: Sequence[Source],
         epilogue: Epilogue) -> Any:
    """inputs: channels of each. sources: for each output channel where it comes from. Parameters: inputs, operands of
    the epilogue, output."""
    lanes = simd.lanes
    blocks = [-(-c // lanes) for c in inputs]
    out_blocks = -(-len(sources) // lanes)
    data = [simd.parameter(f"data{i}", images * b * lanes * pixels) for i, b in enumerate(blocks)]
    others = epilogue.parameters(simd, out_blocks * lanes, images, pixels)
    out = simd.parameter("out", images * out_blocks * lanes * pixels)
    size = max(d for d in range(1, -(-pixels // _TASKS) + 1) if pixels % d == 0)

    def load(image: Expr, number: int, block: Expr, pixel: Expr) -> Expr:
        return simd.bind(simd.load(data[number], ((image * blocks[number] + block) * pixels + pixel) * lanes), "a")

    def store(image: Expr, block: Expr, pixel: Expr, value: Expr) -> None:
        place = simd.bind(((image * out_blocks + block) * pixels + pixel) * lanes)
        simd.store(out, place, epilogue.apply(simd, value, others, block, image, place))

    def copy(image: Expr, start: Expr, segment: Segment, source: Source) -> None:
        with simd.loop(segment.count) as index:
            for count, first, together in pieces(size, _VECTORS):
                with simd.loop(count) as step:
                    pixel = simd.bind(start + first + step * together)
                    for i in range(together):
                        store(image, segment.block + index, pixel + i,
                              load(image, source[0], source[1] + index, pixel + i))

    def pick(image: Expr, start: Expr, segment: Segment) -> None:
        with simd.loop(size) as step:
            pixel = simd.bind(start + step)
            loaded: dict[Source, Expr] = {}
            for block in range(segment.block, segment.block + segment.count):
                picks = sources[block * lanes:(block + 1) * lanes]
                needed = list(dict.fromkeys((i, c // lanes) for i, c in picks))
                for number, b in needed:
                    if (number, b) not in loaded:
                        loaded[number, b] = load(image, number, b, pixel)
                store(image, block, pixel, simd.pick(
                    [loaded[n] for n in needed], [needed.index((i, c // lanes)) * lanes + c % lanes for i, c in picks]))

    with simd.loop(images * (pixels // size), parallel=True) as task:
        image, part = simd.divide(task, (images, pixels // size))
        start = simd.bind(part * size)
        for segment in segments(sources, lanes):
            if segment.copied:
                copy(image, start, segment, segment.copied)
            else:
                pick(image, start, segment)
    return simd.function([*data, *others, out])


def plan(found: Group, tensors: Tensors) -> Plan:
    node = found.anchor
    images = [tensors.image(i) for i in node.inputs]
    n, _, h, w = images[0]
    inputs = tuple(c for _, c, _, _ in images)
    decision = Decision(algorithm="channels", layout=f"NCHW{tensors.lanes}c", reason="lanes move, pixels stay")
    return Plan("channels", decision, tuple(map(tensors.block, node.inputs)),
                lambda simd, epilogue: emit(simd, n, h * w, inputs, node.sources, epilogue),
                (n, h * w, inputs, node.sources))
