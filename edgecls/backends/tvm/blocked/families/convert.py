"""NCHW or channels last <-> blocked."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.types import Array


def pack(values: Array, lanes: int) -> Array:
    """(n, c, pixels) -> blocked, flat; zeros beyond c."""
    n, c, pixels = values.shape
    blocks = -(-c // lanes)
    padded = np.zeros((n, blocks * lanes, pixels), np.float32)
    padded[:, :c] = values
    return np.ascontiguousarray(padded.reshape(n, blocks, lanes, pixels).transpose(0, 1, 3, 2)).reshape(-1)


def emit_block(simd: Simd, images: int, channels: int, pixels: int, last: bool) -> Any:
    """NCHW, or with `last` (N, pixels, C), -> blocked. Parameters: input, output."""
    lanes, blocks = simd.lanes, -(-channels // simd.lanes)
    next_channel, next_pixel = (1, channels) if last else (pixels, 1)
    data = simd.parameter("data", images * channels * pixels)
    out = simd.parameter("out", images * blocks * lanes * pixels)
    zero = simd.tir.FloatImm("float32", 0.0)
    for first, count, filled in _blocks(channels, lanes):
        with simd.loop(images * count, parallel=True) as task:
            image, block = simd.divide(task, (images, count))
            source = simd.bind(image * (channels * pixels) + (first + block) * (lanes * next_channel))
            target = simd.bind((image * blocks + first + block) * (lanes * pixels))
            with simd.loop(pixels) as pixel:
                if next_channel == 1 and filled == lanes:
                    simd.store(out, target + pixel * lanes, simd.load(data, source + pixel * next_pixel))
                    continue
                for lane in range(lanes):
                    place = source + lane * next_channel + pixel * next_pixel
                    value = simd.load(data, place, 1) if lane < filled else zero
                    simd.store(out, target + pixel * lanes + lane, value, 1)
    return simd.function([data, out])


def emit_unblock(simd: Simd, images: int, channels: int, pixels: int, last: bool) -> Any:
    """Blocked -> NCHW, or with `last` (N, pixels, C). Parameters: input, output."""
    lanes, blocks = simd.lanes, -(-channels // simd.lanes)
    next_channel, next_pixel = (1, channels) if last else (pixels, 1)
    data = simd.parameter("data", images * blocks * lanes * pixels)
    out = simd.parameter("out", images * channels * pixels)
    for first, count, filled in _blocks(channels, lanes):
        with simd.loop(images * count, parallel=True) as task:
            image, block = simd.divide(task, (images, count))
            source = simd.bind((image * blocks + first + block) * (lanes * pixels))
            target = simd.bind(image * (channels * pixels) + (first + block) * (lanes * next_channel))
            with simd.loop(pixels) as pixel:
                if next_channel == 1:
                    value = simd.bind(simd.load(data, source + pixel * lanes))
                    simd.store_first(out, target + pixel * next_pixel, value, filled)
                    continue
                for lane in range(filled):
                    value = simd.load(data, source + pixel * lanes + lane, 1)
                    simd.store(out, target + lane * next_channel + pixel * next_pixel, value, 1)
    return simd.function([data, out])


# emitter, channels last, reason
DIRECTIONS = {"block": (emit_block, False, "NCHW to blocked"), "unblock": (emit_unblock, False, "blocked to NCHW"),
              "block_last": (emit_block, True, "channels last to blocked"),
              "unblock_last": (emit_unblock, True, "blocked to channels last")}


def _blocks(channels: int, lanes: int) -> list[tuple[int, int, int]]:
    """(first block, blocks, channels in each) of the whole blocks and of the one that is left."""
    whole, rest = divmod(channels, lanes)
    return ([(0, whole, lanes)] if whole else []) + ([(whole, 1, rest)] if rest else [])
