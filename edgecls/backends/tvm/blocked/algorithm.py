"""Which algorithm each convolution runs with: by predicted time, under a budget of error and one of bytes.

Predictions are cycles of one core from the target's description; nothing is measured and no shape is looked up. They
only need to put the algorithms of one layer in the right order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import msgspec
import numpy as np

from edgecls.backends.tvm.blocked.families import convolution, strassen, winograd, winograd_weights
from edgecls.backends.tvm.blocked.families.product import halves, memory_bytes_per_cycle, parts, with_memory
from edgecls.backends.tvm.blocked.families.winograd_strip import tiles
from edgecls.backends.tvm.blocked.window import Window
from edgecls.backends.tvm.options import CompileOptions
from edgecls.backends.tvm.schedule import Decision
from edgecls.backends.tvm.winograd_tiles import Tiles
from edgecls.backends.tvm.winograd_transforms import input_transform, output_transform, relative_error
from edgecls.types import Array, Target

# largest |difference| / largest |result| that one layer may add; float32 itself is at some 1e-7
ERROR_LIMIT = 1e-4
# a product tile keeps some 95 % of the peak, transforms run at some 75 % of one vector instruction per cycle
_PRODUCT_EFFICIENCY, _TRANSFORM_EFFICIENCY = 0.95, 0.75
# of the target's memory, for weights
_OF_MEMORY = 0.8
# predictions closer than this are no reason to spend memory and accuracy
_WORTH = 0.95
# on which the error of a product is measured
_PIXELS = 64
# most pieces that a budget is counted in, where sizes have no large common divisor
_STEPS = 20_000


class Way(NamedTuple):
    """m: of Winograd's tiles, 0 without. on_device: the kernel transforms the weights, which stay as many as direct
    convolution has. strassen: a 1x1 convolution by Strassen's algorithm, whose weights are as many."""

    m: int = 0
    on_device: bool = False
    strassen: bool = False

    @property
    def values(self) -> int:
        """Packed weights per input and output channel of a 3x3 kernel."""
        return 9 if self.on_device else (self.m + 2) ** 2


class Candidate(NamedTuple):
    """us: predicted for one image, as the mean of all batch sizes. bytes: of packed weights."""

    way: Way
    us: float
    bytes: int


def choose(layers: Sequence[tuple[Window, Array]], target: Target, options: CompileOptions,
           batches: Sequence[Fraction] = (Fraction(1),)) -> list[Decision]:
    """One decision per (window, OIHW weights).

    batches: all batch sizes of the bundle, as multiples of the windows'. Their time per image counts alike, so that
    each of them comes to the same choice and all share one copy of the weights.
    """
    candidates = [_candidates(window, target, options, batches) for window, _ in layers]
    direct = [c[0] for c in candidates]
    budget = int(min(options.growth * sum(w.nbytes for _, w in layers), target.memory_mb * 1e6 * _OF_MEMORY))
    forced = [[c[-1]] if _forced(c[-1].way, options) else c for c in candidates]
    chosen = _within(forced, budget - sum(c.bytes for c in direct))
    decisions = []
    for (window, weights), own, others in zip(layers, chosen, candidates, strict=True):
        error = None
        while own.way != Way():
            error = _error(window, weights, target, own.way)
            if error <= ERROR_LIMIT or _forced(own.way, options):
                break
            smaller = [c for c in others if (c.way.m < own.way.m or c.way == Way()) and c.bytes <= own.bytes]
            own, error = max(smaller, key=lambda c: (c.way.m, -c.us)), None
        decisions.append(_decision(window, target, own, others[0], error))
    return decisions


def copy_us(moved: int, target: Target) -> float:
    """Predicted for a kernel that computes nothing. moved: bytes read and written."""
    return _us(moved / memory_bytes_per_cycle(target.cpu), target)


def _decision(window: Window, target: Target, own: Candidate, direct: Candidate, error: float | None) -> Decision:
    decision = _decide(window, target, own.way)
    reason, predicted = decision.reason, _predicted(window, target, own.way)
    if own.way != Way():
        reason += (f"; predicted {predicted:.0f} us instead of {_predicted(window, target, Way()):.0f}, "
                   f"{(own.bytes - direct.bytes) / 1e3:+.0f} kB of weights")
        if own.way.strassen:
            reason += f", {strassen.workspace(window, target.cpu) / 1e3:.0f} kB of workspace"
    return msgspec.structs.replace(decision, predicted_us=predicted, error=error, reason=reason)


def _candidates(window: Window, target: Target, options: CompileOptions,
                batches: Sequence[Fraction]) -> list[Candidate]:
    """Direct first."""
    images = [msgspec.structs.replace(window, n=int(window.n * b)) for b in batches]
    return [Candidate(way, sum(_predicted(w, target, way) / w.n for w in images) / len(images),
                      _bytes(window, target, way.values if way.m else math.prod(window.kernel)))
            for way in _ways(window, target, options)]


def _forced(way: Way, options: CompileOptions) -> bool:
    return options.strassen == "on" if way.strassen else options.winograd != "auto" and way.m > 0


def _ways(window: Window, target: Target, options: CompileOptions) -> list[Way]:
    choice = options.winograd
    if strassen.applies(window, target.cpu) and (options.strassen == "on" or (
            options.strassen == "auto" and strassen.pays(target.cpu))):
        return [Way(), Way(strassen=True)]
    if choice == "off" or not winograd.applies(window):
        return [Way()]
    if choice != "auto":
        return [Way(), Way(int(choice[1:]))]
    return [Way(), *(Way(m, on_device) for m in winograd.SIZES for on_device in (False, True))]


def _decide(window: Window, target: Target, way: Way) -> Decision:
    if way.strassen:
        return strassen.decide(window, target.cpu)
    if not way.m:
        return convolution.decide(window, target.cpu)
    if way.on_device:
        return winograd_weights.decide(window, target.cpu, way.m)
    return winograd.decide(window, target.cpu, way.m)


def _predicted(window: Window, target: Target, way: Way) -> float:
    """Microseconds."""
    if way.strassen:
        cycles = strassen.cycles(window, target.cpu, _PRODUCT_EFFICIENCY)
        return _us(with_memory(cycles, _bytes(window, target, 1), target.cpu), target)
    return _us(_winograd_cycles(window, target, way) if way.m else _direct_cycles(window, target), target)


def _within(candidates: Sequence[Sequence[Candidate]], budget: int) -> list[Candidate]:
    """Of each layer one, in the least time with at most `budget` bytes more than direct: a knapsack of multiple choice,
    by dynamic programming over the bytes that are spent (Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004,
    section 11.5)."""
    worthy = [_worthy(options) for options in candidates]
    more = [[max(0, o.bytes - options[0].bytes) for o in options] for options in worthy]
    unit = max(math.gcd(*itertools.chain(*more)), budget // _STEPS, 1)
    steps = max(budget, 0) // unit
    least, taken = np.zeros(steps + 1), []
    for options, extra in zip(worthy, more, strict=True):
        times = np.full((len(options), steps + 1), np.inf)
        for row, option, spent in zip(times, options, (-(-e // unit) for e in extra), strict=True):
            if spent <= steps:
                row[spent:] = least[:steps + 1 - spent] + option.us
        taken.append(times.argmin(0))
        least = times.min(0)
    chosen = []
    for options, extra, best in reversed(list(zip(worthy, more, taken, strict=True))):
        number = int(best[steps])
        chosen.append(options[number])
        steps -= -(-extra[number] // unit)
    return chosen[::-1]


def _worthy(options: Sequence[Candidate]) -> list[Candidate]:
    """Direct, and what is faster than all that takes no more bytes by more than predictions are worth."""
    found = [options[0]]
    for option in sorted(options[1:], key=lambda o: (o.bytes, o.us)):
        if option.us <= _WORTH * min(o.us for o in found):
            found.append(option)
    return found


def _bytes(window: Window, target: Target, values: int) -> int:
    lanes = target.cpu.vector_bits // 32
    return -(-window.co // lanes) * lanes * window.ci // window.groups * values * 4


def _us(cycles: float, target: Target) -> float:
    return round(cycles / target.cpu.clock_mhz, 1)


def _direct_cycles(window: Window, target: Target) -> float:
    cpu, decision = target.cpu, convolution.decide(window, target.cpu)
    rows, vectors = decision.tile
    lanes = cpu.vector_bits // 32
    taps = math.prod(window.kernel)
    # taps in the padding are left out
    inside = window.inside(0) * window.inside(1)
    vectors_out = sum(p.count * (p.vectors - p.half / 2) for p in parts(window.co, lanes, vectors, halves(cpu)))
    products = window.n * inside * vectors_out * window.ci
    return with_memory(products * _stall(rows * vectors, target) / cpu.fma_pipes / _PRODUCT_EFFICIENCY,
                       _bytes(window, target, taps), cpu, kept=bool(decision.strip or decision.chunk))


def _winograd_cycles(window: Window, target: Target, way: Way) -> float:
    cpu, decision, m = target.cpu, _decide(window, target, way), way.m
    count = math.prod(tiles(window, m))
    # with its own transform of weights a kernel goes through all images at once
    strips = -(-window.n * count // decision.strip) if way.on_device else window.n * -(-count // decision.strip)
    count = strips * decision.strip
    strip = _tiles(window, decision, way)
    products = (strips * strip.products * -(-window.co // (cpu.vector_bits // 32)) * window.ci
                * _stall(math.prod(decision.tile), target) / cpu.fma_pipes / _PRODUCT_EFFICIENCY)
    others = _transforms(window, target, way, count)
    if way.on_device or not cpu.cache.l3:
        others += strips * winograd.moved(window, strip, decision.tile[1], cpu)
    if way.on_device:
        return products + others + strips * winograd_weights.weights_cost(window, cpu, m) / _TRANSFORM_EFFICIENCY
    return with_memory(products, strips * _bytes(window, target, way.values), cpu) + others


def _tiles(window: Window, decision: Decision, way: Way) -> Tiles:
    """Of one strip."""
    return Tiles.of(way.m, window.n if way.on_device else 1, (window.oh, window.ow), decision.strip)


def _transforms(window: Window, target: Target, way: Way, count: int) -> float:
    """Cycles of inputs and outputs of `count` tiles: a 1-D transform is its steps and a load and a store per value."""
    lanes, m, t = target.cpu.vector_bits // 32, way.m, way.m + 2
    steps = len(input_transform(m, m, way.on_device).steps)
    inputs = count * -(-window.ci // lanes) * 2 * t * (steps + 2 * t)
    outputs = count * -(-window.co // lanes) * (t + m) * (len(output_transform(m, m).steps) + t + m)
    return (inputs + outputs) / _TRANSFORM_EFFICIENCY


def _stall(sums: int, target: Target) -> float:
    """How much longer a tile takes whose sums are too few to hide the latency of the FMA."""
    return max(1.0, target.cpu.fma_latency * target.cpu.fma_pipes / sums)


def _error(window: Window, weights: Array, target: Target, way: Way) -> float:
    if way.strassen:
        return float(f"{strassen.error(weights[:, :, 0, 0], _PIXELS):.1e}")
    # it is convolved with padding 1, so that its tiles end as the layer's do
    sample = np.random.default_rng(0).standard_normal((1, window.ci, window.oh, window.ow), np.float32)
    exact = _tiles(window, _decide(window, target, way), way).exact
    return float(f"{relative_error(weights, way.m, sample, way.on_device, exact):.1e}")
