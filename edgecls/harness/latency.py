"""How long does an inference take, how far can that be trusted, and which of several artifacts is better?

Every session takes part in two or more repeats. A repeat is cut into blocks, and the blocks of all repeats and all
sessions take turns (in reversed order every other round), so that whatever changes slowly meets each of them alike.
Then the repeats of one artifact differ only by noise: that is the noise band. Each block has its own warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Literal

import msgspec

from edgecls.errors import DataError, DeviceError, InternalError
from edgecls.harness import validity
from edgecls.harness.statistics import percentile, spread, tail_percentile
from edgecls.interfaces import Progress, Session, silent
from edgecls.results import (
    Compared,
    Comparison,
    Conditions,
    InstructionResult,
    LatencyResult,
    Limits,
    Measurement,
    NoiseBand,
    Ratio,
)
from edgecls.types import MeasureSettings, Samples

_ROUNDS = 5
_NS_PER_MS = 1_000_000


def measure_latency(session: Session, settings: MeasureSettings, progress: Progress = silent, *,
                    limits: Limits | None = None, tools: Mapping[str, str] | None = None,
                    affinity: Sequence[int] | None = None) -> Measurement:
    """Times of one artifact, or its executed instructions where the device has no real clock.

    tools: versions to record (compiler, emulator). affinity: CPUs the program may use, where the caller knows.
    settings.threads is replaced by the session's. Raises DataError for settings that cannot be measured,
    DeviceError for a device that answers with something else than asked.
    """
    return _measure([session], settings, progress, limits or Limits(), tools or {}, affinity)[0]


def compare_latency(sessions: Mapping[str, Session], settings: MeasureSettings, progress: Progress = silent, *,
                    limits: Limits | None = None, tools: Mapping[str, str] | None = None,
                    affinity: Sequence[int] | None = None) -> Comparison:
    """Several artifacts in one interleaved run; the first is the baseline. Raises as measure_latency does."""
    if len(sessions) < 2:
        raise DataError("a comparison needs two artifacts or more", "name another bundle")
    measured = _measure(list(sessions.values()), settings, progress, limits or Limits(), tools or {}, affinity)
    entries = [Compared(name=n, measurement=m) for n, m in zip(sessions, measured, strict=True)]
    if len({type(m) for m in measured}) > 1:
        raise DataError("times cannot be compared with instruction counts", "open all artifacts on the same device")
    reasons = tuple(f"{e.name}: {r}" for e in entries for r in e.measurement.reasons)
    return Comparison(artifact=measured[0].artifact, baseline=entries[0].name, entries=tuple(entries),
                      ratios=tuple(_ratio(e, entries[0]) for e in entries[1:]), valid=not reasons, reasons=reasons)


def _measure(sessions: Sequence[Session], settings: MeasureSettings, progress: Progress, limits: Limits,
             tools: Mapping[str, str], affinity: Sequence[int] | None) -> list[Measurement]:
    _check_settings(sessions, settings)
    before = [s.facts() for s in sessions]
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    blocks = _interleave(sessions, settings, progress)
    after = [s.facts() for s in sessions]
    results = []
    for i, session in enumerate(sessions):
        conditions = Conditions(
            settings=msgspec.structs.replace(settings, threads=session.threads), limits=limits, tools=dict(tools),
            affinity=None if affinity is None else tuple(affinity), before=before[i], after=after[i],
            measured_at=started,
            interleaved_with=tuple(s.artifact_hash for j, s in enumerate(sessions) if j != i))
        results.append(_result(session, conditions, [(r, b) for j, r, b in blocks if j == i]))
    return results


def _check_settings(sessions: Sequence[Session], settings: MeasureSettings) -> None:
    if settings.runs < 1 or settings.warmup < 0 or settings.repeats < 2:
        raise DataError(f"cannot measure {settings.runs} runs after {settings.warmup} for warm-up, "
                        f"{settings.repeats} times", "ask for 1 run or more, warm-up 0 or more, 2 repeats or more")
    for session in sessions:
        if settings.batch not in session.batches:
            raise DataError(f"batch {settings.batch} was not compiled in; there is "
                            f"{', '.join(str(b) for b in session.batches)}",
                            f"compile the model again with --batch {settings.batch}")


def _interleave(sessions: Sequence[Session], settings: MeasureSettings,
                progress: Progress) -> list[tuple[int, int, Samples]]:
    """(session, repeat, samples) of each block in the order of time. Counting needs no blocks: it has no drift."""
    rounds = 1 if all(s.emulated for s in sessions) else min(_ROUNDS, settings.runs)
    turns = [(j, r) for r in range(settings.repeats) for j in range(len(sessions))]
    blocks: list[tuple[int, int, Samples]] = []
    for block in range(rounds):
        runs = settings.runs // rounds + (block < settings.runs % rounds)
        for j, repeat in turns if block % 2 == 0 else turns[::-1]:
            progress("measuring", len(blocks), rounds * len(turns))
            session = sessions[j]
            samples = session.measure(msgspec.structs.replace(settings, runs=runs, repeats=1, threads=session.threads))
            _check_samples(samples, runs, session)
            blocks.append((j, repeat, samples))
    progress("measuring", len(blocks), len(blocks))
    return blocks


def _check_samples(samples: Samples, runs: int, session: Session) -> None:
    if samples.kind == "time_ns" and session.emulated:
        raise InternalError("an emulated session answered with times", "report this with the command you ran")
    enough = len(samples.values) == runs if samples.kind == "time_ns" else len(samples.values) >= 1
    if samples.gpu_ns and (len(samples.gpu_ns) != len(samples.values) or min(samples.gpu_ns) < 0):
        enough = False
    if not enough or min(samples.values) < 0:
        raise DeviceError(f"the device answered {runs} runs with {len(samples.values)} samples of {samples.kind}",
                          "check that the bundle and the runner on the device are of this version")


def _result(session: Session, conditions: Conditions, blocks: Sequence[tuple[int, Samples]]) -> Measurement:
    kinds = {b.kind for _, b in blocks}
    if len(kinds) > 1:
        raise DeviceError("the device answered with times and with instruction counts", "measure again")
    if kinds == {"instructions"}:
        return _instructions(session.artifact_hash, conditions, [v for _, b in blocks for v in b.values])
    if conditions.emulated:
        raise InternalError("an emulated device answered with times", "report this with the command you ran")
    return _times(session.artifact_hash, conditions, [(r, v) for r, b in blocks for v in b.values],
                  [v for _, b in blocks for v in b.gpu_ns])


def _instructions(artifact: str, conditions: Conditions, counts: Sequence[int]) -> InstructionResult:
    width = spread(counts)
    reasons = validity.instruction_reasons(width, conditions.limits)
    return InstructionResult(artifact=artifact, valid=not reasons, reasons=tuple(reasons), conditions=conditions,
                             instructions_per_inference=percentile(counts, 50), samples_instructions=tuple(counts),
                             spread=width)


def _times(artifact: str, conditions: Conditions, ns: Sequence[tuple[int, int]],
           gpu_ns: Sequence[int]) -> LatencyResult:
    """ns: (repeat, nanoseconds) in the order of time; gpu_ns: of the same runs, or none."""
    ms = [v / _NS_PER_MS for _, v in ns]
    gpu_ms = [v / _NS_PER_MS for v in gpu_ns]
    repeats = [[v / _NS_PER_MS for r, v in ns if r == repeat] for repeat in range(conditions.settings.repeats)]
    noise = NoiseBand(median=spread([percentile(r, 50) for r in repeats]), minimum=spread([min(r) for r in repeats]))
    reasons, notes = validity.latency_reasons(ms, noise, conditions.settings.threads, conditions.before,
                                              conditions.after, conditions.limits)
    p90, p99 = tail_percentile(ms, 90), tail_percentile(ms, 99)
    for name, value, needed in (("p90", p90, 10), ("p99", p99, 100)):
        if value is None:
            notes.append(f"{name} needs {needed} samples, there are {len(ms)}")
    return LatencyResult(
        artifact=artifact, valid=not reasons, reasons=tuple(reasons), conditions=conditions, samples_ms=tuple(ms),
        sample_repeat=tuple(r for r, _ in ns), repeats_ms=tuple(map(tuple, repeats)), min_ms=min(ms),
        mean_ms=sum(ms) / len(ms), p50_ms=percentile(ms, 50), p90_ms=p90, p99_ms=p99, noise_band=noise,
        notes=tuple(notes), gpu_samples_ms=tuple(gpu_ms), gpu_min_ms=min(gpu_ms, default=None),
        gpu_p50_ms=percentile(gpu_ms, 50) if gpu_ms else None)


def _ratio(entry: Compared, baseline: Compared) -> Ratio:
    a, b = entry.measurement, baseline.measurement
    if isinstance(a, LatencyResult) and isinstance(b, LatencyResult):
        median, minimum = _divide(a.p50_ms, b.p50_ms), _divide(a.min_ms, b.min_ms)
        noise = max(a.noise_band.median, b.noise_band.median)
    else:
        assert isinstance(a, InstructionResult) and isinstance(b, InstructionResult)
        median = _divide(a.instructions_per_inference, b.instructions_per_inference)
        minimum = _divide(min(a.samples_instructions), min(b.samples_instructions))
        noise = max(a.spread, b.spread)
    if not (a.valid and b.valid):
        verdict: Literal["better", "worse", "same", "invalid"] = "invalid"
    elif max(median, 1 / median) - 1 <= noise:
        verdict = "same"
    else:
        verdict = "better" if median < 1 else "worse"
    return Ratio(name=entry.name, unit="time" if isinstance(a, LatencyResult) else "instructions", median=median,
                 minimum=minimum, noise_band=noise, verdict=verdict)


def _divide(a: float, b: float) -> float:
    if a <= 0 or b <= 0:
        raise DeviceError("the device measured nothing: a sample is 0",
                          "measure with a larger --batch or on another device")
    return a / b
