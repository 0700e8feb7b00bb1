"""Depthwise convolution: every channel has its own window, so a vector of channels is a vector of results.

One row of outputs at a time, `pixels` of them in registers; an input vector that several outputs read is loaded once
per row of the kernel. The arithmetic is one FMA per load, so what counts is how many loads the outputs share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.rows import slide, steps
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Run, Window, runs
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Array, Cpu


def decide(window: Window, cpu: Cpu) -> Decision:
    """As many outputs as registers hold beside one row of weights and the inputs in flight."""
    most = cpu.vector_registers - window.kernel[1] - max(4, window.kernel[1])
    pixels = max(r.size for r in runs(window, max(1, min(most, 16))))
    return Decision(algorithm="depthwise", layout=f"NCHW{cpu.vector_bits // 32}c", tile=(pixels, 1),
                    reason=f"{pixels} pixels x {cpu.vector_bits // 32} channels stay in registers over "
                           f"{window.kernel[0]} x {window.kernel[1]} taps")


def pack(weights: Array, lanes: int) -> Array:
    """(C, inputs, kh, kw) -> [vector of results][row][input][column][lane], flat; zeros beyond C. Depthwise has one
    input for each result, a grouped convolution several."""
    c, ins, kh, kw = weights.shape
    vectors = -(-c // lanes)
    padded = np.zeros((vectors * lanes, ins, kh, kw), np.float32)
    padded[:c] = weights
    return np.ascontiguousarray(padded.reshape(vectors, lanes, ins, kh, kw).transpose(0, 3, 2, 4, 1)).reshape(-1)


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue) -> Any:
    """Parameters: input, weights, operands of the epilogue, output."""
    lanes, blocks = simd.lanes, -(-window.co // simd.lanes)
    kh, kw = window.kernel
    data = simd.parameter("data", window.n * blocks * lanes * window.h * window.w)
    weights = simd.parameter("weights", blocks * lanes * kh * kw)
    others = epilogue.parameters(simd, blocks * lanes, window.n, window.oh * window.ow)
    out = simd.parameter("out", window.n * blocks * lanes * window.oh * window.ow)
    with simd.loop(window.n * blocks * window.oh, parallel=True) as task:
        image, block, row = simd.divide(task, (window.n, blocks, window.oh))
        plane = simd.bind(image * blocks + block)

        def add(run: Run, sums: list[Any], pixel: Expr, i: Expr) -> None:
            line = simd.bind((plane * (window.h * window.w) + pixel) * lanes)
            taps = simd.bind((block * kh + i) * (kw * lanes))
            kernel = [simd.bind(simd.load(weights, taps + t * lanes), "w") for t in range(kw)]
            inputs: dict[int, Expr] = {}
            for r, t, at in steps(window, run):
                if at not in inputs:
                    inputs[at] = simd.bind(simd.load(data, line + at * lanes), "a")
                simd.assign(sums[r], simd.value(sums[r]) + inputs[at] * kernel[t])

        def store(run: Run, r: int, value: Expr, column: Expr) -> None:
            place = simd.bind(((plane * window.oh + row) * window.ow + column) * lanes)
            simd.store(out, place, epilogue.apply(simd, value, others, block, image, place))

        slide(simd, window, decision.tile[0], row, lambda: epilogue.start(simd, others, block), add, store)
    return simd.function([data, weights, *others, out])


def plan(found: Group, tensors: Tensors) -> Plan:
    window, weights = found.anchor.window, found.anchor.weights
    assert window is not None and weights is not None
    decision = decide(window, tensors.cpu)
    return Plan(f"depthwise{window.kernel[0]}x{window.kernel[1]}", decision,
                (tensors.block(found.anchor.inputs[0]), pack(weights, tensors.lanes)),
                lambda simd, epilogue: emit(simd, window, decision, epilogue), (window, decision), window.multiply_adds,
                in_place=True)
