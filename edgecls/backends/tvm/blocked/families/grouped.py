"""Convolution in groups: an output channel reads the input channels of its own group alone.

Where groups are whole vectors, in and out, each is a convolution of its own and `convolution` runs them. Elsewhere the
lanes of a vector of results belong to several groups, or begin anywhere in a block: the j-th input of every lane is
brought into its lane by one shuffle (a broadcast where all lanes are of one group), which the columns of the kernel
share. A depthwise convolution with more results than channels has one input per group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families import convolution
from edgecls.backends.tvm.blocked.families.depthwise import pack
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.product import pieces
from edgecls.backends.tvm.blocked.families.rows import slide, steps
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Run, Window, runs
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Cpu


@dataclass(frozen=True)
class Pattern:
    """Output vectors `first` .. `first + count`: lane l reads the channels from places[l] on, counted from `block`."""

    first: int
    count: int
    block: int
    places: tuple[int, ...]


def patterns(groups: int, ins: int, outs: int, lanes: int) -> list[Pattern]:
    """The vectors of `groups` groups of `ins` to `outs` channels. Lanes beyond the last read what the last one does."""
    found: list[Pattern] = []
    for vector in range(-(-groups * outs // lanes)):
        channels = [min(vector * lanes + lane, groups * outs - 1) for lane in range(lanes)]
        starts = [c // outs * ins for c in channels]
        block = starts[0] // lanes
        pattern = Pattern(vector, 1, block, tuple(s - block * lanes for s in starts))
        last = found[-1] if found else None
        if last and (last.block, last.places) == (pattern.block, pattern.places):
            found[-1] = Pattern(last.first, last.count + 1, last.block, last.places)
        else:
            found.append(pattern)
    return found


def whole_vectors(window: Window, lanes: int) -> bool:
    return window.ci // window.groups % lanes == 0 and window.co // window.groups % lanes == 0


def decide(window: Window, cpu: Cpu) -> Decision:
    """Registers hold the sums, and beside them as many inputs, which the j of one block share."""
    lanes = cpu.vector_bits // 32
    pixels = max(r.size for r in runs(window, max(1, (cpu.vector_registers - 3 - window.kernel[1]) // 2)))
    return Decision(algorithm="grouped", layout=f"NCHW{lanes}c", tile=(pixels, 1),
                    reason=f"{pixels} pixels x {lanes} channels stay in registers over {window.ci // window.groups} "
                           f"inputs, shuffled into their lanes, x {window.kernel[0]} x {window.kernel[1]}")


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue) -> Any:
    """Parameters: input, weights, operands of the epilogue, output."""
    lanes, (kh, kw) = simd.lanes, window.kernel
    blocks_in, blocks_out = -(-window.ci // lanes), -(-window.co // lanes)
    ins, outs = window.ci // window.groups, window.co // window.groups
    data = simd.parameter("data", window.n * blocks_in * lanes * window.h * window.w)
    weights = simd.parameter("weights", blocks_out * lanes * ins * kh * kw)
    others = epilogue.parameters(simd, blocks_out * lanes, window.n, window.oh * window.ow)
    out = simd.parameter("out", window.n * blocks_out * lanes * window.oh * window.ow)

    def row_of(image: Expr, row: Expr, vector: Expr, block: Expr, places: tuple[int, ...]) -> None:
        def add(run: Run, sums: list[Any], pixel: Expr, i: Expr) -> None:
            for count, start, size in pieces(ins, lanes):
                with simd.loop(count) as index:
                    plane = simd.bind(image * blocks_in + block + index)
                    line = simd.bind((plane * (window.h * window.w) + pixel) * lanes)
                    packed = simd.bind(((vector * kh + i) * ins + start + index * lanes) * (kw * lanes))
                    for j in range(size):
                        shuffled: dict[int, Expr] = {}
                        picks = [p + start + j for p in places]
                        for r, tap, at in steps(window, run):
                            if at not in shuffled:
                                shuffled[at] = pick(line + at * lanes, picks)
                            kernel = simd.load(weights, packed + (j * kw + tap) * lanes)
                            simd.assign(sums[r], simd.value(sums[r]) + shuffled[at] * kernel)

        def store(run: Run, r: int, value: Expr, column: Expr) -> None:
            line = ((image * blocks_out + vector) * window.oh + row) * window.ow
            place = simd.bind((line + column) * lanes)
            simd.store(out, place, epilogue.apply(simd, value, others, vector, image, place))

        slide(simd, window, decision.tile[0], row, lambda: epilogue.start(simd, others, vector), add, store)

    def pick(at: Expr, picks: list[int]) -> Expr:
        """Lane l: of the block picks[l] // lanes further on, the lane picks[l] % lanes."""
        if len(set(picks)) == 1 and not simd.by_element:
            block, lane = divmod(picks[0], lanes)
            return simd.bind(simd.spread(data, at + block * (window.h * window.w * lanes) + lane), "a")
        needed = sorted({p // lanes for p in picks})
        loaded = [simd.bind(simd.load(data, at + b * (window.h * window.w * lanes)), "a") for b in needed]
        return simd.pick(loaded, [needed.index(p // lanes) * lanes + p % lanes for p in picks])

    # after so many groups both sides begin a block again
    period = math.lcm(lanes // math.gcd(ins, lanes), lanes // math.gcd(outs, lanes))
    for count, first, size in pieces(window.groups, period):
        with simd.loop(window.n * count * window.oh, parallel=True) as task:
            image, index, row = simd.divide(task, (window.n, count, window.oh))
            for pattern in patterns(size, ins, outs, lanes):
                with simd.loop(pattern.count) as further:
                    vector = simd.bind(first * outs // lanes + pattern.first + index * (period * outs // lanes)
                                       + further)
                    block = simd.bind(first * ins // lanes + pattern.block + index * (period * ins // lanes))
                    row_of(image, row, vector, block, pattern.places)
    return simd.function([data, weights, *others, out])


def plan(found: Group, tensors: Tensors) -> Plan:
    window, weights = found.anchor.window, found.anchor.weights
    assert window is not None and weights is not None
    if whole_vectors(window, tensors.lanes):
        decision = convolution.decide(window, tensors.cpu)
        decision = msgspec.structs.replace(decision, algorithm="grouped",
                                           reason=f"{window.groups} groups, in each {decision.reason}")
        return convolution.plan_direct(window, weights, decision, found.anchor.inputs[0], tensors)
    decision = decide(window, tensors.cpu)
    return Plan(f"grouped{window.kernel[0]}x{window.kernel[1]}", decision,
                (tensors.block(found.anchor.inputs[0]), pack(weights, tensors.lanes)),
                lambda simd, epilogue: emit(simd, window, decision, epilogue), (window, decision), window.multiply_adds)
