"""Direct convolution, pointwise and dense: a tile of outputs stays in registers over the whole reduction.

A tile is `pixels` neighbours in a row times `vectors` vectors of output channels. For every input channel and tap,
`vectors` vectors of weights are loaded once and multiplied by one element per pixel; the weights lie in exactly that
order. Taps that fall outside the image are left out when compiling (columns) or by the loop's bounds (rows): nothing is
padded.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from msgspec import structs

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families import (
    cache_blocked,
    deep_product,
    dense,
    strassen,
    winograd,
    winograd_weights,
)
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import (
    Ahead,
    crowded,
    halves,
    parts,
    product_cost,
    product_rows,
    product_vectors,
)
from edgecls.backends.tvm.blocked.families.row_of_tiles import RowOfTiles, columns_of
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Window, flattened, runs
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Array, Cpu

# an input of so few channels would be mostly padding: it is read as it is
_PLANAR_CHANNELS = 4
# an image that is so many times its weights is shared by rows
_SHARED = 1.5
# pixels for which weights come from memory in time
_PIECE = 64


def decide(window: Window, cpu: Cpu, planar: bool = False) -> Decision:
    """Enough independent sums to hide the FMA's latency, few enough to leave registers for what they are made of."""
    window = window.one_group()
    lanes = cpu.vector_bits // 32
    best, choice = float("inf"), (1, 1)
    single = window.oh * window.ow == 1
    depth = -(-window.ci // lanes) * math.prod(window.kernel)
    columns = columns_of(window, planar)
    far = not single and window.kernel == (1, 1)
    tried = (range(1, min(4, -(-window.co // lanes)) + 1) if single else
             range(1, 2) if planar and crowded(cpu) else product_vectors(window.co, cpu, far))
    for vectors in tried:
        if far and vectors > 1 and vectors * window.ci * lanes * 4 > cpu.cache.l2 // 2:
            continue  # every tile reads the weights of its outputs again
        for most in range(1, product_rows(vectors, cpu, columns) + 1):
            flat = flattened(window, most, -(-window.co // (vectors * lanes)))
            sizes = [r.size for r in runs(flat, most) for _ in range(r.count)]
            cost = flat.oh * product_cost(window.co, sizes, vectors, cpu, depth, columns, float(far),
                                          half=halves(cpu))
            if max(sizes) == most and cost < best:
                best, choice = cost, (most, vectors)
    pixels, vectors = choice
    band = 0 if planar else cache_blocked.band(window, choice, cpu)
    chunk = 0 if planar else deep_product.chunk(window, choice, cpu)
    at_once = lanes if band else chunk
    return Decision(algorithm="direct", layout=f"NCHW{lanes}c", tile=(pixels, vectors), strip=band, chunk=chunk,
                    reason=f"{pixels} pixels x {vectors * lanes} channels stay in registers over "
                           f"{f'{at_once} of ' if at_once else ''}{window.ci} x {window.kernel[0]} x {window.kernel[1]}"
                           f"{', weights in the first cache for ' if at_once else ''}"
                           f"{f'{band} rows' if band else 'all pixels' if chunk else ''}")


def pack(weights: Array, decision: Decision, lanes: int, planar: bool, groups: int = 1,
         streams: bool = False) -> Array:
    """OIHW -> for each group of output vectors: [block of input channels][row][column][channel][output], flat.
    groups: of the convolution, one after another. streams: the same for each vector of outputs."""
    if groups > 1:
        return np.concatenate([pack(w, decision, lanes, planar, 1, streams) for w in np.split(weights, groups)])
    if streams:
        decision = structs.replace(decision, tile=(decision.tile[0], 1))
    inner = 1 if planar else lanes
    co, ci, kh, kw = weights.shape
    pieces = []
    for part in parts(co, lanes, decision.tile[1]):
        width = part.vectors * lanes
        for group in range(part.count):
            start = (part.first + group * part.vectors) * lanes
            block = np.zeros((width, ci, kh, kw), np.float32)
            block[: max(0, min(width, co - start))] = weights[start:start + width]
            for channel in range(0, ci, inner):
                pieces.append(block[:, channel:channel + inner].transpose(2, 3, 1, 0).reshape(-1))
    return np.concatenate(pieces)


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, planar: bool,
         rows_first: bool = False, line: int = 0, half: bool = False, streams: bool = False, pieces: int = 1) -> Any:
    """planar: the input is NCHW (few channels), not blocked. rows_first: all outputs of a row of pixels come before the
    next row, not all rows of a group of outputs. line: floats in a line of the cache; 0 leaves it to the processor to
    fetch weights. half: a last vector that is half padding is computed as half a vector. streams: of `pack`.
    pieces: of a pointwise convolution's image. Parameters: input, weights, operands of the epilogue, output."""
    pixels, vectors = decision.tile
    groups, window = window.groups, window.one_group()
    lanes = simd.lanes
    flat = (flattened(window, pixels, -(-window.co // (vectors * lanes))) if pieces == 1 else
            structs.replace(window, h=1, w=window.h * window.w))
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    size_in = window.n * (window.ci if planar else blocks_in * lanes) * window.h * window.w
    taps = window.kernel[0] * window.kernel[1]
    data = simd.parameter("data", size_in)
    group_size = blocks_out * lanes * window.ci * taps
    weights = simd.parameter("weights", groups * group_size)
    others = epilogue.parameters(simd, groups * blocks_out * lanes, window.n // groups, flat.oh * flat.ow)
    out = simd.parameter("out", window.n * blocks_out * lanes * flat.oh * flat.ow)
    # weights that are more than an image are read once for all images, else the image stays in cache
    images = window.n // groups
    once = images > 1 and groups * group_size * images > size_in
    row_of_tiles = runs(flat, pixels)
    in_row = sum(run.count for run in row_of_tiles)
    in_piece = -(-in_row // pieces)
    offset = 0
    for part in parts(window.co, lanes, vectors, half):
        with simd.loop(window.n * part.count * flat.oh * pieces, parallel=True) as task:
            piece: Expr = 0
            if pieces > 1:
                image, number, piece, group, row = simd.divide(task, (images, groups, pieces, part.count, flat.oh))
            elif once:
                group, image, number, row = simd.divide(task, (part.count, images, groups, flat.oh))
            elif rows_first:
                image, number, row, group = simd.divide(task, (images, groups, flat.oh, part.count))
            else:
                image, number, group, row = simd.divide(task, (images, groups, part.count, flat.oh))
            origin = simd.bind(offset + number * group_size
                               + group * (part.vectors * lanes * window.ci * taps))
            ahead = Ahead.of(flat, part, lanes, line, in_piece * flat.oh)
            tiles = RowOfTiles(simd, flat, planar, part, data, weights, epilogue, others, out, origin,
                               simd.bind(image * groups + number), group, row, image, simd.bind(number * blocks_out),
                               in_row == 1, streams, ahead)
            before = row * in_row
            for run in row_of_tiles:
                count, start = simd.hidden(run.count) if run.count > 1 else 1, 0
                if pieces > 1:
                    start = simd.bind(simd.at_least(piece * in_piece - before, 0))
                    count = simd.bind(simd.at_most((piece + 1) * in_piece - before, run.count) - start)
                with simd.loop(count, start=start) as index:
                    tiles.tile(run, simd.bind(run.start + index * run.size), before + index - piece * in_piece)
                before += run.count
        offset += part.count * part.vectors * lanes * window.ci * taps
    return simd.function([data, weights, *others, out])


def reads_streams(window: Window, cpu: Cpu) -> bool:
    """Weights that each go into one pixel's sums come from memory, and x86 brings several streams faster than one."""
    return window.oh * window.ow == 1 and cpu.arch == "x86_64"


def reads_rows_first(window: Window, cpu: Cpu) -> bool:
    """An input that the cache cannot keep is read once if the weights can stay there instead. And cores that share the
    rows of a large image each read all weights, which nobody has just written, but only a part of the image, half of
    which another core has."""
    image, weights = window.ci * window.h * window.w * 4, window.ci * window.co * math.prod(window.kernel) * 4
    shared = crowded(cpu) and window.pointwise and image > _SHARED * weights
    return weights <= cpu.cache.l2 // 2 and (shared or image > cpu.cache.l2 // 2)


def pieces_of(window: Window, cpu: Cpu) -> int:
    """Into how many pieces of its pixels a pointwise convolution cuts its image. Where rows would read the weights too
    often, each core takes a piece with all outputs, for the same reason; of an image that has fewer channels than the
    result there is too little to gain."""
    pixels = window.h * window.w
    pays = (crowded(cpu) and window.pointwise and window.n == 1 and window.ci >= window.co
            and pixels >= max(window.co / 2, cpu.cores * _PIECE))
    return cpu.cores if pays else 1


def plan(found: Group, tensors: Tensors) -> Plan:
    window, weights, decision = tensors.chosen(found)
    data = found.anchor.inputs[0]
    if decision.algorithm == "strassen":
        return strassen.plan(window, weights, decision, data, tensors)
    if decision.algorithm != "direct" and decision.chunk:
        return winograd_weights.plan(window, weights, decision, data, tensors)
    if decision.algorithm != "direct":
        return winograd.plan(window, weights, decision, data, tensors)
    return plan_direct(window, weights, decision, data, tensors)


def plan_direct(window: Window, weights: Array, decision: Decision, data: Any, tensors: Tensors) -> Plan:
    """Of whole channels, or of groups that are whole vectors."""
    streams = reads_streams(window, tensors.cpu)
    planar = (window.groups == 1 and window.ci <= _PLANAR_CHANNELS and tensors.is_image(data)
              and not tensors.is_blocked(data))
    if dense.applies(window) and not planar:
        decision = dense.decide(window, decision, tensors.cpu)
        return Plan("dense", decision,
                    (tensors.block(data), pack(weights, decision, tensors.lanes, False, streams=streams)),
                    lambda simd, epilogue: dense.emit(simd, window, decision, epilogue, streams), (window, decision),
                    window.multiply_adds)
    if planar:
        own = decide(window, tensors.cpu, planar)
        decision = structs.replace(decision, tile=own.tile, strip=own.strip, chunk=own.chunk, reason=own.reason)
    name, workload = f"conv{window.kernel[0]}x{window.kernel[1]}", (window, planar, decision)
    if decision.strip or decision.chunk:
        return Plan(name, decision, (tensors.block(data), pack(weights, decision, tensors.lanes, False, window.groups)),
                    lambda simd, epilogue: _emit_in_cache(simd, window, decision, epilogue, tensors.cpu),
                    workload, window.multiply_adds, in_place=True)
    rows_first = reads_rows_first(window.one_group(), tensors.cpu)
    ahead = tensors.cpu.arch == "x86_64" and not (rows_first or planar or streams)
    line = tensors.cpu.cache.line // 4 if ahead else 0
    return Plan(name, decision,
                (tensors.plain(data) if planar else tensors.block(data),
                 pack(weights, decision, tensors.lanes, planar, window.groups, streams)),
                lambda simd, epilogue: emit(simd, window, decision, epilogue, planar, rows_first, line,
                                            halves(tensors.cpu), streams,
                                            1 if planar or rows_first else pieces_of(window, tensors.cpu)),
                workload, window.multiply_adds, in_place=True)


def _emit_in_cache(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, cpu: Cpu) -> Any:
    """Some input channels after the others, whose weights the first cache keeps."""
    line = cpu.cache.line // 4
    if decision.strip:
        return cache_blocked.emit(simd, window, decision, epilogue, line)
    return deep_product.emit(simd, window, decision, epilogue, line, pieces_of(window, cpu))
