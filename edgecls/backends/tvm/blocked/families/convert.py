"""NCHW <-> blocked."""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.blocked.simd import Simd


def emit_block(simd: Simd, images: int, channels: int, pixels: int) -> Any:
    """NCHW -> blocked. Parameters: input, output."""
    lanes, blocks = simd.lanes, -(-channels // simd.lanes)
    data = simd.parameter("data", images * channels * pixels)
    out = simd.parameter("out", images * blocks * lanes * pixels)
    zero = simd.tir.FloatImm("float32", 0.0)
    for first, count, filled in _blocks(channels, lanes):
        with simd.loop(images * count, parallel=True) as task:
            image, block = simd.divide(task, (images, count))
            source = simd.bind((image * channels + (first + block) * lanes) * pixels)
            target = simd.bind((image * blocks + first + block) * (lanes * pixels))
            with simd.loop(pixels) as pixel:
                for lane in range(lanes):
                    value = simd.load(data, source + lane * pixels + pixel, 1) if lane < filled else zero
                    simd.store(out, target + pixel * lanes + lane, value, 1)
    return simd.function([data, out])


def emit_unblock(simd: Simd, images: int, channels: int, pixels: int) -> Any:
    """Blocked -> NCHW. Parameters: input, output."""
    lanes, blocks = simd.lanes, -(-channels // simd.lanes)
    data = simd.parameter("data", images * blocks * lanes * pixels)
    out = simd.parameter("out", images * channels * pixels)
    for first, count, filled in _blocks(channels, lanes):
        with simd.loop(images * count, parallel=True) as task:
            image, block = simd.divide(task, (images, count))
            source = simd.bind((image * blocks + first + block) * (lanes * pixels))
            target = simd.bind((image * channels + (first + block) * lanes) * pixels)
            if pixels == 1:
                simd.store_first(out, target, simd.bind(simd.load(data, source)), filled)
                continue
            with simd.loop(pixels) as pixel:
                for lane in range(filled):
                    value = simd.load(data, source + pixel * lanes + lane, 1)
                    simd.store(out, target + lane * pixels + pixel, value, 1)
    return simd.function([data, out])


def _blocks(channels: int, lanes: int) -> list[tuple[int, int, int]]:
    """(first block, blocks, channels in each) of the whole blocks and of the one that is left."""
    whole, rest = divmod(channels, lanes)
    return ([(0, whole, lanes)] if whole else []) + ([(whole, 1, rest)] if rest else [])
