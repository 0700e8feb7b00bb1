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


def emit_block_last(simd: Simd, images: int, channels: int, pixels: int) -> Any:
    """(N, pixels, C) -> blocked. Parameters: input, output."""
    lanes, blocks = simd.lanes, -(-channels // simd.lanes)
    data = simd.parameter("data", images * channels * pixels)
    out = simd.parameter("out", images * blocks * lanes * pixels)
    zero = simd.tir.FloatImm("float32", 0.0)
    for first, count, filled in _blocks(channels, lanes):
        with simd.loop(images * count, parallel=True) as task:
            image, block = simd.divide(task, (images, count))
            source = simd.bind(image * (channels * pixels) + (first + block) * lanes)
            target = simd.bind((image * blocks + first + block) * (lanes * pixels))
            with simd.loop(pixels) as pixel:
                if filled == lanes:
                    simd.store(out, target + pixel * lanes, simd.load(data, source + pixel * channels))
                    continue
                for lane in range(lanes):
                    value = simd.load(data, source + pixel * channels + lane, 1) if lane < filled else zero
                    simd.store(out, target + pixel * lanes + lane, value, 1)
    return simd.function([data, out])


def emit_unblock_last(simd: Simd, images: int, channels: int, pixels: int) -> Any:
    """Blocked -> (N, pixels, C). Parameters: input, output."""
    lanes, blocks = simd.lanes, -(-channels // simd.lanes)
    data = simd.parameter("data", images * blocks * lanes * pixels)
    out = simd.parameter("out", images * channels * pixels)
    for first, count, filled in _blocks(channels, lanes):
        with simd.loop(images * count, parallel=True) as task:
            image, block = simd.divide(task, (images, count))
            source = simd.bind((image * blocks + first + block) * (lanes * pixels))
            target = simd.bind(image * (channels * pixels) + (first + block) * lanes)
            with simd.loop(pixels) as pixel:
                value = simd.bind(simd.load(data, source + pixel * lanes))
                simd.store_first(out, target + pixel * channels, value, filled)
    return simd.function([data, out])


DIRECTIONS = {"block": (emit_block, "NCHW to blocked"), "unblock": (emit_unblock, "blocked to NCHW"),
              "block_last": (emit_block_last, "channels last to blocked"),
              "unblock_last": (emit_unblock_last, "blocked to channels last")}


def _blocks(channels: int, lanes: int) -> list[tuple[int, int, int]]:
    """(first block, blocks, channels in each) of the whole blocks and of the one that is left."""
    whole, rest = divmod(channels, lanes)
    return ([(0, whole, lanes)] if whole else []) + ([(whole, 1, rest)] if rest else [])
