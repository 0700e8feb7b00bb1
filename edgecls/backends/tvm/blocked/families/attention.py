"""Attention without its matrix of scores: a few queries at a time go through scores, softmax and weighted sum.

    keys       transposed and scaled once, in vectors of different keys: [group][head][vector][channel][lane]
    scores     a tile of queries times all keys stays in the cache of the thread: product, biases, maximum, powers, sum
    values     the same tile times the values, divided by the sum while it is stored

Heads and windows are read and written where they lie: in the blocks of channels of the product before, at pixels that a
table gives where they are not in order. Heads that do not begin at whole vectors are moved there first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.families import channels
from edgecls.backends.tvm.blocked.families.attention_kernels import Place, Shape, Tiles, emit, emit_keys
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import product_cost, product_rows, product_vectors
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.heads import Attention, Heads
from edgecls.backends.tvm.blocked.window import balanced
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Array, Cpu

# scores are kept times this: exp(x) = 2^(x log2 e)
_LOG2_E = math.log2(math.e)


def decide(rows: int, columns: int, size: int, depth: int, cpu: Cpu, in_order: bool = True) -> Tiles:
    """Few keys fit into registers with several queries, where one load of an element serves them all. in_order: the
    values lie one behind the other."""
    lanes = cpu.vector_bits // 32
    whole = -(-columns // lanes)
    few = product_rows(whole, cpu)
    if cpu.arch == "x86_64" and whole in product_vectors(columns, cpu, far=True) and (
            few * whole >= cpu.fma_latency * cpu.fma_pipes):
        queries = _queries(rows, whole, few, cpu)
        return Tiles(queries, (few, whole), _tile(queries, depth, whole, cpu), whole=True, copied=True)
    if cpu.arch != "x86_64" and not in_order:
        # products of assembly read their vectors one behind the other; many queries share what the copy costs
        queries = _queries(rows, whole, 1, cpu)
        return Tiles(queries, _tile(queries, columns, -(-size // lanes), cpu), _tile(queries, depth, whole, cpu),
                     copied=True)
    best, choice = float("inf"), (1, 1)
    for vectors in product_vectors(columns, cpu):
        for most in range(1, product_rows(vectors, cpu) + 1):
            sizes = balanced(rows, most)
            cost = (product_cost(columns, sizes, vectors, cpu, -(-size // lanes))
                    + product_cost(depth, sizes, vectors, cpu, whole))
            if max(sizes) == most and cost < best:
                best, choice = cost, (most, vectors)
    return Tiles(choice[0], choice, choice)


def _queries(rows: int, vectors: int, least: int, cpu: Cpu) -> int:
    """Of one task, all of whose tiles read its weights, `vectors` vectors per query, from the first cache."""
    return balanced(rows, max(least, cpu.cache.l1d // 2 // (vectors * cpu.vector_bits // 8)))[0]


def _tile(rows: int, channels: int, depth: int, cpu: Cpu) -> tuple[int, int]:
    """The register tile that costs least. depth: vectors of keys."""
    return min(((most, vectors) for vectors in product_vectors(channels, cpu, far=True)
                for most in range(1, product_rows(vectors, cpu) + 1)),
               key=lambda tile: product_cost(channels, balanced(rows, tile[0]), tile[1], cpu, depth))


def plan(found: Group, tensors: Tensors) -> Plan:
    attention, lanes = found.anchor.attention, tensors.lanes
    assert attention is not None
    shape = _shape(attention)
    queries, keys, values = (_aligned(h, shape, found, tensors) for h in (attention.queries, attention.keys,
                                                                           attention.values))
    vectors, scale = -(-shape.columns // lanes), attention.scale * _LOG2_E
    unit = shape.images * shape.groups * shape.heads
    turned = tensors.call(Plan(
        "keys", Decision(algorithm="attention", layout="keys", reason="keys transposed and scaled"), keys.arguments,
        lambda simd, _: emit_keys(simd, shape, keys.place, scale), (shape, keys.place, scale)),
        unit * vectors * shape.size * lanes, found)
    tiles = decide(shape.rows, shape.columns, shape.size, shape.depth, tensors.cpu, values.place.in_order)
    depth = -(-shape.depth // lanes)
    result = Place(0, depth, depth * shape.heads, queries.place.pixels, shape.rows, queries.place.in_order)
    decision = Decision(algorithm="attention", layout=f"NCHW{lanes}c", tile=tiles.score,
                        reason=f"{tiles.queries} queries through {shape.columns} keys; {shape.groups} groups of "
                               f"{shape.rows}, {shape.heads} heads")
    weights = [_padded(b * np.float32(_LOG2_E), lanes) for b in attention.biases]
    if attention.gate:
        summand = np.broadcast_to(attention.gate.summand, (1, shape.heads, shape.rows, shape.columns))
        weights += [attention.gate.factor.astype(np.float32), _padded(summand, lanes)]
    arguments = (*queries.arguments, turned, *values.arguments, *weights)
    own = Plan("attention", decision, arguments,
               lambda simd, _: emit(simd, shape, tiles, queries.place, values.place, result),
               (shape, tiles, queries.place, values.place, result), attention.multiply_adds)
    if shape.heads == 1 or shape.depth % lanes == 0:
        return own
    padded = tensors.call(own, result.size(shape.images, lanes), found)
    picks = tuple((0, h * depth * lanes + k) for h in range(shape.heads) for k in range(shape.depth))
    return _channels(padded, shape.images, result.pixels, depth * lanes * shape.heads, picks)


def _shape(attention: Attention) -> Shape:
    groups, rows = attention.queries.tokens.shape
    gate = attention.gate
    return Shape(images=attention.images, groups=groups, heads=attention.heads, rows=rows,
                 columns=attention.keys.tokens.shape[1], size=attention.queries.size, depth=attention.values.size,
                 biases=tuple((b.shape[0], b.shape[1]) for b in attention.biases), gated=gate is not None,
                 normalised=gate is not None and gate.normalised)


@dataclass(frozen=True)
class _Aligned:
    """arguments: the image, and its table if it needs one."""

    arguments: tuple[Any, ...]
    place: Place


def _aligned(heads: Heads, shape: Shape, found: Group, tensors: Tensors) -> _Aligned:
    """Heads that begin at whole vectors: as they lie, or moved."""
    lanes = tensors.lanes
    n, c, h, w = tensors.image(heads.base)
    image, first, step = tensors.block(heads.base), heads.start, heads.step
    if first % lanes or step % lanes:
        step = -(-heads.size // lanes) * lanes
        picks = tuple((0, first + number * heads.step + min(k, heads.size - 1))
                      for number in range(shape.heads) for k in range(step))
        image = tensors.call(_channels(image, n, h * w, c, picks), n * len(picks) * h * w, found)
        first, c = 0, len(picks)
    place = Place(first // lanes, step // lanes, -(-c // lanes), h * w, heads.tokens.shape[1], heads.in_order)
    table = () if heads.in_order else (np.ascontiguousarray(heads.tokens.reshape(-1)),)
    return _Aligned((image, *table), place)


def _channels(image: Any, images: int, pixels: int, count: int, picks: tuple[tuple[int, int], ...]) -> Plan:
    decision = Decision(algorithm="channels", layout="heads", reason="heads to and from whole vectors")
    return Plan("heads", decision, (image,),
                lambda simd, epilogue: channels.emit(simd, images, pixels, [count], picks, epilogue),
                (images, pixels, count, picks))


def _padded(weights: Array, lanes: int) -> Array:
    """(..., keys) with zeros up to whole vectors, flat."""
    after = -weights.shape[-1] % lanes
    return np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, after)]).astype(np.float32).reshape(-1)
