"""Largest value or average over windows.

An average divides by how many places of its window count: those in the image, and the padding that the network says
counts. What rounding up at the image's end (ceil_mode) adds never does.
"""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.rows import slide, steps, taps_inside
from edgecls.backends.tvm.blocked.graph import Pooling
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Run, Window, runs
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Cpu


def decide(window: Window, cpu: Cpu) -> Decision:
    pixels = max(r.size for r in runs(window, cpu.vector_registers // 2))
    return Decision(algorithm="pooling", layout=f"NCHW{cpu.vector_bits // 32}c", tile=(pixels, 1),
                    reason=f"{pixels} pixels stay in registers")


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, pooling: Pooling) -> Any:
    """Parameters: input, operands of the epilogue, output."""
    lanes, blocks, largest = simd.lanes, -(-window.co // simd.lanes), pooling.kind == "max"
    data = simd.parameter("data", window.n * blocks * lanes * window.h * window.w)
    others = epilogue.parameters(simd, blocks * lanes, window.n, window.oh * window.ow)
    out = simd.parameter("out", window.n * blocks * lanes * window.oh * window.ow)
    begin = simd.number(float("-inf") if largest else 0.0)
    with simd.loop(window.n * blocks * window.oh, parallel=True) as task:
        image, block, row = simd.divide(task, (window.n, blocks, window.oh))
        plane = simd.bind(image * blocks + block)
        rows = None if largest else _rows_counted(simd, window, pooling, row)

        def add(run: Run, results: list[Any], pixel: Expr, i: Expr) -> None:
            line = simd.bind((plane * (window.h * window.w) + pixel) * lanes)
            inputs: dict[int, Expr] = {}
            for r, _, at in steps(window, run):
                if at not in inputs:
                    inputs[at] = simd.bind(simd.load(data, line + at * lanes), "a")
                old = simd.value(results[r])
                simd.assign(results[r], simd.tir.Max(old, inputs[at]) if largest else old + inputs[at])

        def store(run: Run, r: int, value: Expr, column: Expr) -> None:
            place = simd.bind(((plane * window.oh + row) * window.ow + column) * lanes)
            if not largest:
                value = _divided(simd, value, rows, _columns_counted(simd, window, pooling, run, r, column))
            simd.store(out, place, epilogue.apply(simd, value, others, block, image, place))

        slide(simd, window, decision.tile[0], row, lambda: begin, add, store)
    return simd.function([data, *others, out])


def _rows_counted(simd: Simd, window: Window, pooling: Pooling, row: Expr) -> Expr:
    top = simd.bind(row * window.stride[0] - window.pad[0])
    return taps_inside(simd, window, 0, top, (pooling.counted[0], pooling.counted[2]))[1]


def _columns_counted(simd: Simd, window: Window, pooling: Pooling, run: Run, r: int, column: Expr) -> Expr:
    """Columns of the kernel that count for the r-th output of a run: a number where it is that of all its tiles."""
    before, behind = pooling.counted[1], pooling.counted[3]
    lefts = [(run.start + tile * run.size + r) * window.stride[1] - window.pad[1] for tile in range(run.count)]
    counts = {sum(-before <= left + t * window.dilation[1] < window.w + behind for t in range(window.kernel[1]))
              for left in lefts}
    if len(counts) == 1:
        return counts.pop()
    left = simd.bind(column * window.stride[1] - window.pad[1])
    return taps_inside(simd, window, 1, left, (before, behind))[1]


def _divided(simd: Simd, value: Expr, rows: Expr, columns: Expr) -> Expr:
    count = rows * columns
    if isinstance(count, int):
        return value * simd.number(1.0 / count)
    return value / simd.tir.Broadcast(simd.tir.Cast("float32", count), simd.lanes)


def plan(found: Group, tensors: Tensors) -> Plan:
    window, pooling = found.anchor.window, found.anchor.pooling
    assert window is not None and pooling is not None
    decision = decide(window, tensors.cpu)
    return Plan(f"{pooling.kind}_pool", decision, (tensors.block(found.anchor.inputs[0]),),
                lambda simd, epilogue: emit(simd, window, decision, epilogue, pooling), (window, pooling))
