"""Largest value or average over windows."""

from __future__ import annotations

from typing import Any, Literal

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.family import Plan, Tensors
from edgecls.backends.tvm.blocked.families.rows import rows_inside
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.backends.tvm.blocked.window import Window, runs
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Cpu

Kind = Literal["max", "average", "average-inside"]


def decide(window: Window, cpu: Cpu) -> Decision:
    pixels = max(r.size for r in runs(window, cpu.vector_registers // 2))
    return Decision(algorithm="pooling", layout=f"NCHW{cpu.vector_bits // 32}c", tile=(pixels, 1),
                    reason=f"{pixels} pixels stay in registers")


def emit(simd: Simd, window: Window, decision: Decision, epilogue: Epilogue, kind: Kind) -> Any:
    """average divides by the whole window, average-inside by the part that lies inside the image."""
    lanes, blocks = simd.lanes, -(-window.co // simd.lanes)
    data = simd.parameter("data", window.n * blocks * lanes * window.h * window.w)
    others = epilogue.parameters(simd, blocks * lanes, window.n, window.oh * window.ow)
    out = simd.parameter("out", window.n * blocks * lanes * window.oh * window.ow)
    with simd.loop(window.n * blocks * window.oh, parallel=True) as task:
        image, block, row = simd.divide(task, (window.n, blocks, window.oh))
        plane = simd.bind(image * blocks + block)
        top = simd.bind(row * window.stride[0] - window.pad[0])
        first, count = rows_inside(simd, window, top)
        for run in runs(window, decision.tile[0]):
            with simd.loop(run.count) as index:
                column = simd.bind(run.start + index * run.size)
                begin = float("-inf") if kind == "max" else 0.0
                results = [simd.register(simd.number(begin)) for _ in range(run.size)]
                with simd.loop(count, start=first) as i:
                    line = simd.bind(((plane * window.h + top + i * window.dilation[0]) * window.w
                                      + column * window.stride[1] - window.pad[1]) * lanes)
                    inputs: dict[int, Any] = {}
                    for r in range(run.size):
                        for t in (t for t in range(window.kernel[1]) if r in run.taps[t]):
                            at = r * window.stride[1] + t * window.dilation[1]
                            if at not in inputs:
                                inputs[at] = simd.bind(simd.load(data, line + at * lanes), "a")
                            old = simd.value(results[r])
                            simd.assign(results[r], simd.tir.Max(old, inputs[at]) if kind == "max"
                                        else old + inputs[at])
                place = simd.bind(((plane * window.oh + row) * window.ow + column) * lanes)
                for r in range(run.size):
                    value = simd.value(results[r])
                    if kind == "average":
                        value = value * simd.number(1.0 / (window.kernel[0] * window.kernel[1]))
                    elif kind == "average-inside":
                        inside = sum(r in taps for taps in run.taps)
                        rows = simd.tir.Cast("float32", count if not isinstance(count, int) else
                                             simd.tir.IntImm("int32", count))
                        value = value / simd.tir.Broadcast(rows * simd.tir.FloatImm("float32", float(inside)), lanes)
                    value = epilogue.apply(simd, value, others, block, image, place + r * lanes)
                    simd.store(out, place + r * lanes, value)
    return simd.function([data, *others, out])


def plan(found: Group, tensors: Tensors) -> Plan:
    window, kind = found.anchor.window, found.anchor.pooling
    assert window is not None
    decision = decide(window, tensors.cpu)
    return Plan(f"{kind.split('-')[0]}_pool", decision, (tensors.block(found.anchor.inputs[0]),),
                lambda simd, epilogue: emit(simd, window, decision, epilogue, kind), (window, kind))
