"""Tokens put together from anywhere: a class token before those of an image, four neighbours' channels in one.

What moves is written down when compiling, as pairs of places: vectors where these move whole, else floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.families import convert
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.form import Image
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Array


@dataclass(frozen=True)
class Copies:
    """Of one input. table: (target, source) of the first image's copies, flat. steps: what to add to both per image."""

    table: Array
    steps: tuple[int, int]


def emit(simd: Simd, images: int, unit: int, sizes: Sequence[int], counts: Sequence[int],
         steps: Sequence[tuple[int, int]], target: int) -> Any:
    """unit: floats that move together. sizes: floats of each input; counts and steps: of its copies. target: floats of
    the output. Parameters: each input and its table, output."""
    data = [simd.parameter(f"data{i}", size) for i, size in enumerate(sizes)]
    tables = [simd.parameter(f"table{i}", 2 * count, "int32") for i, count in enumerate(counts)]
    out = simd.parameter("out", target)
    for source, table, count, (forward, back) in zip(data, tables, counts, steps, strict=True):
        with simd.loop(images * count, parallel=True) as task:
            image, copy = simd.divide(task, (images, count))
            to, origin = (simd.bind(simd.integer(table, copy * 2 + i)) for i in (0, 1))
            value = simd.load(source, (origin + image * back) * unit, unit)
            simd.store(out, (to + image * forward) * unit, value, unit)
    return simd.function([p for pair in zip(data, tables, strict=True) for p in pair] + [out])


def copies(places: Array, inputs: Sequence[Image], lanes: int) -> tuple[int, list[Copies], int]:
    """Floats that move together, what moves, and the number of images whose copies differ by steps alone. places: (n,
    pixels, c): of each element among the elements of all inputs in a row."""
    for unit in (lanes, 1):
        pairs = _pairs(places, inputs, lanes, unit)
        if pairs is not None:
            break
    assert pairs is not None
    n = places.shape[0]
    found = []
    for number in range(len(inputs)):
        own = [(to[number], origin[number]) for to, origin in pairs]
        steps = [(a - b, c - d) for (a, c), (b, d) in zip(own[1:], own, strict=False) if a.size == b.size]
        one = {(int(s[0]), int(t[0])) for s, t in steps if s.size} if len(steps) == n - 1 else set()
        if n > 1 and (len(one) != 1 or any((s != s[0]).any() or (t != t[0]).any() for s, t in steps)):
            return unit, [Copies(_table(*(np.concatenate([p[k][i] for p in pairs]) for k in (0, 1))), (0, 0))
                          for i in range(len(inputs))], 1
        found.append(Copies(_table(*own[0]), next(iter(one), (0, 0))))
    return unit, found, n


def _table(to: Array, origin: Array) -> Array:
    return np.stack([to, origin], axis=1).astype(np.int32).reshape(-1)


def _pairs(places: Array, inputs: Sequence[Image], lanes: int,
           unit: int) -> list[tuple[list[Array], list[Array]]] | None:
    """For each image, and each input in it: targets and sources, in units; None if these do not move together."""
    n, pixels, c = places.shape
    blocks = -(-c // lanes)
    starts = np.cumsum([0, *(int(np.prod(i)) for i in inputs)])
    channel = np.arange(0, c, unit)
    target = (np.arange(n)[:, None, None] * blocks + channel // lanes) * pixels + np.arange(pixels)[None, :, None]
    target = target if unit > 1 else target * lanes + channel % lanes
    first = places[:, :, ::unit].astype(np.int64)
    number = np.searchsorted(starts, first, side="right") - 1
    _, channels, height, width = (np.array([i[k] for i in inputs])[number] for k in range(4))
    area = height * width
    image, rest = np.divmod(first - starts[number], channels * area)
    own, pixel = np.divmod(rest, area)
    source = (image * -(-channels // lanes) + own // lanes) * area + pixel
    if unit == 1:
        source = source * lanes + own % lanes
    else:
        steps = np.arange(c) % unit * np.repeat(area, unit, axis=2)[:, :, :c]
        if (own % lanes).any() or (places != np.repeat(first, unit, axis=2)[:, :, :c] + steps).any():
            return None
    found = []
    for i in range(n):
        masks = [number[i] == k for k in range(len(inputs))]
        found.append(([target[i][m] for m in masks], [source[i][m] for m in masks]))
    return found


def plan(found: Group, tensors: Tensors) -> Plan:
    node, lanes = found.anchor, tensors.lanes
    assert node.gather is not None
    n, c, h, w = tensors.image(node.variable)
    inputs = [i.shape if isinstance(i, np.ndarray) else tensors.image(i) for i in node.inputs]
    unit, moves, images = copies(node.gather.reshape(n, h * w, c), inputs, lanes)
    sizes = tuple(i[0] * -(-i[1] // lanes) * lanes * i[2] * i[3] for i in inputs)
    counts, steps = tuple(m.table.size // 2 for m in moves), tuple(m.steps for m in moves)
    target = n * -(-c // lanes) * lanes * h * w
    given = [convert.pack(i.reshape(*i.shape[:2], -1), lanes) if isinstance(i, np.ndarray) else tensors.block(i)
             for i in node.inputs]
    decision = Decision(algorithm="gather", layout=f"NCHW{lanes}c",
                        reason=f"{'vectors' if unit > 1 else 'floats'} copied to their places")
    arguments = tuple(a for pair in zip(given, (m.table for m in moves), strict=True) for a in pair)
    return Plan("gather", decision, arguments,
                lambda simd, _: emit(simd, images, unit, sizes, counts, steps, target),
                (images, unit, sizes, counts, steps, target))
