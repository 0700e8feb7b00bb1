"""bench and compare: times of real devices, instruction counts of emulated ones."""

from __future__ import annotations

from typing import Literal

from edgecls.frozen import Frozen
from edgecls.results.base import Result
from edgecls.types import DeviceFacts, MeasureSettings

_LONGEST_MS = 1e9  # eleven days


class Limits(Frozen):
    """When a latency is INVALID. Relative numbers are fractions of 1.

    governor: the one that must be set. max_clock_change: of the fastest core, before to after. max_temperature_rise_c:
    degrees Celsius. max_load_per_core: 1-minute load average before, divided by cores. max_noise_band: between the
    medians of the interleaved repeats. max_drift: between the medians of the first and last quarter of the samples.
    min_samples: over all repeats. max_instruction_spread: between repeats, for instruction counts.
    """

    governor: str = "performance"
    max_clock_change: float = 0.05
    max_temperature_rise_c: float = 10.0
    max_load_per_core: float = 0.25
    max_noise_band: float = 0.05
    max_drift: float = 0.05
    min_samples: int = 20
    max_instruction_spread: float = 1e-4


class Conditions(Frozen):
    """All that a measurement depends on besides the artifact. affinity: CPUs the program may use, null when unknown.
    before, after: what the device said of itself (never the host's for an emulator). measured_at: UTC, ISO 8601.
    interleaved_with: hashes of the other artifacts of the same run.
    """

    settings: MeasureSettings
    limits: Limits
    tools: dict[str, str]
    affinity: tuple[int, ...] | None
    before: DeviceFacts
    after: DeviceFacts
    measured_at: str
    interleaved_with: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for facts in (self.before, self.after):
            hosts = (facts.governor, facts.clocks_mhz, facts.temperature_c, facts.load)
            if facts.emulated and any(f is not None for f in hosts):
                raise ValueError("the clock, governor, temperature or load of an emulator's host is not the board's")

    @property
    def emulated(self) -> bool:
        return self.before.emulated or self.after.emulated


class NoiseBand(Frozen):
    """How far two measurements of one artifact lie apart: (largest - smallest) / smallest over the repeats, of their
    medians and of their minima. A difference between artifacts that is smaller means nothing.
    """

    median: float
    minimum: float


class LatencyResult(Result, tag_field="kind", tag="bench"):
    """`edgecls bench` on a real device. Milliseconds per inference of conditions.settings.batch images.

    samples_ms: raw, in the order of time; sample_repeat: which repeat each belongs to; repeats_ms: the same samples by
    repeat. Percentiles are nearest-rank: the
    smallest sample that at least that share of the samples does not exceed; null when no sample could lie above it.
    reasons: why it is not valid, empty when it is. notes: what could not be checked.
    On a GPU the samples are end to end, with the transfers to and from it. gpu_samples_ms: of the same runs, the GPU's
    own events around the kernels alone; empty elsewhere, and then gpu_p50_ms and gpu_min_ms are null.
    """

    valid: bool
    reasons: tuple[str, ...]
    conditions: Conditions
    samples_ms: tuple[float, ...]
    sample_repeat: tuple[int, ...]
    repeats_ms: tuple[tuple[float, ...], ...]
    min_ms: float
    mean_ms: float
    p50_ms: float
    p90_ms: float | None
    p99_ms: float | None
    noise_band: NoiseBand
    notes: tuple[str, ...] = ()
    gpu_samples_ms: tuple[float, ...] = ()
    gpu_p50_ms: float | None = None
    gpu_min_ms: float | None = None

    def __post_init__(self) -> None:
        if self.gpu_samples_ms and len(self.gpu_samples_ms) != len(self.samples_ms):
            raise ValueError("gpu_samples_ms must be of the same runs as samples_ms")
        if self.conditions.emulated:
            raise ValueError("a time measured under emulation is not a time")
        by_repeat: list[list[float]] = [[] for _ in self.repeats_ms]
        if not self.samples_ms or not set(self.sample_repeat) <= set(range(len(by_repeat))):
            raise ValueError("samples_ms and sample_repeat must hold samples of repeats_ms")
        for sample, repeat in zip(self.samples_ms, self.sample_repeat, strict=True):
            by_repeat[repeat].append(sample)
        if self.repeats_ms != tuple(map(tuple, by_repeat)):
            raise ValueError("repeats_ms must hold the samples of samples_ms in their order")
        if not all(0 <= s <= _LONGEST_MS for s in self.samples_ms):
            raise ValueError(f"samples_ms must be from 0 to {_LONGEST_MS:g}")


class InstructionResult(Result, tag_field="kind", tag="bench-instructions"):
    """`edgecls bench` where only executed instructions can be counted. It says nothing of time.

    A sample is five runs minus one run, over four, whatever warmup and runs of conditions.settings say.
    instructions_per_inference: median of samples_instructions (one or more per repeat), for a batch of
    conditions.settings.batch images. spread: (largest - smallest) / smallest of the samples.
    """

    valid: bool
    reasons: tuple[str, ...]
    conditions: Conditions
    instructions_per_inference: int
    samples_instructions: tuple[int, ...]
    spread: float
    notes: tuple[str, ...] = ()


Measurement = LatencyResult | InstructionResult


class Compared(Frozen):
    name: str
    measurement: LatencyResult | InstructionResult


class Ratio(Frozen):
    """`name` divided by the baseline: below 1 is better. noise_band: the wider one of the two.

    verdict: "same" when the medians differ by no more than the noise band; "invalid" when either measurement is.
    """

    name: str
    unit: Literal["time", "instructions"]
    median: float
    minimum: float
    noise_band: float
    verdict: Literal["better", "worse", "same", "invalid"]


class Comparison(Result, tag_field="kind", tag="compare"):
    """Several artifacts measured in one interleaved run. artifact: the baseline's hash."""

    baseline: str
    entries: tuple[Compared, ...]
    ratios: tuple[Ratio, ...]
    valid: bool
    reasons: tuple[str, ...]
