"""A Report as tables: what every human-readable form shows. Times and instruction counts never share a column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edgecls.results import (
    AccuracyResult,
    Comparison,
    Conditions,
    DivergenceResult,
    InstructionResult,
    LatencyResult,
    Measurement,
    Report,
)

Cell = str | int | float | None
Row = Mapping[str, Cell]


class Column(NamedTuple):
    """key: stable, for machines. title: for people. form: a known cell as text for people."""

    key: str
    title: str
    form: Callable[[Any], str] = str


class Table(NamedTuple):
    """rows: key -> cell; a missing cell is None. legend: what the columns mean, one sentence each."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    legend: tuple[str, ...] = ()


def shown(cell: Cell, column: Column) -> str:
    """A cell as text for people; the unknown is a dash."""
    return "–" if cell is None else column.form(cell)


def tables(report: Report) -> list[Table]:
    """Every table that has a row."""
    validated = [(n.name, n.result) for n in report.results if isinstance(n.result, AccuracyResult)]
    comparisons = [(n.name, n.result) for n in report.results if isinstance(n.result, Comparison)]
    divergences = [(n.name, n.result) for n in report.results if isinstance(n.result, DivergenceResult)]
    every = list(measurements(report))
    times = [(n, m) for n, m in every if isinstance(m, LatencyResult)]
    counts = [(n, m) for n, m in every if isinstance(m, InstructionResult)]
    made = [
        Table("Accuracy", _ACCURACY, _rows(_accuracy, validated, "single-label"), _ACCURACY_LEGEND),
        Table("Accuracy, several labels per image", _MULTI, _rows(_accuracy, validated, "multi-label")),
        Table("Against the reference", _REFERENCE, tuple(_reference(n, r) for n, r in validated if r.reference),
              _REFERENCE_LEGEND),
        Table("Flipped predictions", _FLIPS, tuple(f for n, r in validated for f in _flips(n, r))),
        Table("Latency", _LATENCY, tuple(_latency(n, m) for n, m in times), _LATENCY_LEGEND),
        Table("Executed instructions", _INSTRUCTIONS, tuple(_instructions(n, m) for n, m in counts),
              ("Counted under emulation. They are not time, and two of them may take different time.",)),
        Table("Conditions", _CONDITIONS, tuple(_conditions(n, m.conditions) for n, m in every)),
        Table("Compared times", _TIME_RATIOS, tuple(_ratios(comparisons, "time")), _RATIO_LEGEND),
        Table("Compared instruction counts", _COUNT_RATIOS, tuple(_ratios(comparisons, "instructions")), _RATIO_LEGEND),
        Table("Numeric parity on random inputs", _DIVERGENCE, tuple(_divergence(n, r) for n, r in divergences)),
        Table("Notes", (_FILE, Column("note", "note")), tuple(_notes(report))),
    ]
    return [t for t in made if t.rows]


def measurements(report: Report) -> Iterator[tuple[str, Measurement]]:
    """Every measurement with its name; those of a comparison as "file: entry"."""
    for named in report.results:
        if isinstance(named.result, (LatencyResult, InstructionResult)):
            yield named.name, named.result
        elif isinstance(named.result, Comparison):
            for entry in named.result.entries:
                yield f"{named.name}: {entry.name}", entry.measurement


# ---------------------------------------------------------------- columns


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _ms(value: float) -> str:
    """Four significant digits, never an exponent."""
    decimals = 3 - math.floor(math.log10(value)) if 0 < value < math.inf else 3
    return f"{value:.{min(max(decimals, 0), 9)}f}"


def _count(value: float) -> str:
    return f"{value:,}"


def _small(value: float) -> str:
    return f"{value:.3g}"


def _hash(value: str) -> str:
    return value[:12]


_FILE = Column("file", "result")
_HEAD = (_FILE, Column("artifact", "artifact", _hash), Column("device", "device"), Column("threads", "threads"))
_ACCURACY = (
    *_HEAD, Column("images", "images"), Column("top1", "top-1", _percent), Column("top1_low", "from", _percent),
    Column("top1_high", "to", _percent), Column("top5", "top-5", _percent), Column("gate", "gate"))
_ACCURACY_LEGEND = ("from, to: 95 % Wilson score interval of top-1.",)
_MULTI = (
    *_HEAD, Column("images", "images"), Column("exact_match", "exact match", _percent),
    Column("precision", "precision", _percent), Column("recall", "recall", _percent), Column("f1", "F1", _percent),
    Column("macro_f1", "macro F1", _percent), Column("mean_average_precision", "mAP", _percent), Column("gate", "gate"))
_REFERENCE = (
    _FILE, Column("reference", "reference", _hash), Column("agreement", "agreement", _percent),
    Column("flips", "flips"), Column("max_logit_difference", "largest logit difference", _small),
    Column("relative_logit_difference", "of the logit range", _small),
    Column("accuracy_difference", "accuracy difference", _percent), Column("difference_low", "from", _percent),
    Column("difference_high", "to", _percent), Column("mcnemar_p", "McNemar p", _small))
_REFERENCE_LEGEND = (
    "accuracy difference: this minus the reference; from, to: 95 % interval (Newcombe's score interval for paired "
    "proportions, method 10); McNemar p: exact, two-sided.",)
_FLIPS = (
    _FILE, Column("image", "image"), Column("label", "label"), Column("reference_class", "reference"),
    Column("reference_score", "score", _small), Column("class", "this"), Column("score", "score", _small))
_STATUS = (Column("status", "status"), Column("reasons", "reasons"))
_LATENCY = (
    *_HEAD, Column("batch", "batch"), Column("p50_ms", "p50 (ms)", _ms), Column("p90_ms", "p90 (ms)", _ms),
    Column("p99_ms", "p99 (ms)", _ms), Column("min_ms", "min (ms)", _ms), Column("mean_ms", "mean (ms)", _ms),
    Column("samples", "samples"), Column("noise_band", "noise band", _percent), *_STATUS)
_LATENCY_LEGEND = (
    "Percentiles are nearest-rank. noise band: how far the medians of interleaved repeats of the same artifact lie "
    "apart; a smaller difference means nothing.",)
_INSTRUCTIONS = (
    *_HEAD, Column("batch", "batch"), Column("emulator", "emulator"),
    Column("instructions_per_inference", "instructions per inference", _count),
    Column("instruction_spread", "spread", _small), *_STATUS)
_CONDITIONS = (
    _FILE, Column("measured_at", "measured at"), Column("warmup", "warm-up"), Column("runs", "runs"),
    Column("repeats", "repeats"), Column("affinity", "affinity"), Column("cpu", "CPU"), Column("gpu", "GPU"),
    Column("kernel", "kernel"), Column("governor", "governor"), Column("clocks_before_mhz", "clocks before (MHz)"),
    Column("clocks_after_mhz", "after (MHz)"), Column("temperature_before_c", "temperature before (°C)", _small),
    Column("temperature_after_c", "after (°C)", _small), Column("load_before", "load before", _small),
    Column("tools", "tools"))
_TIME_RATIOS = (
    _FILE, Column("baseline", "baseline"), Column("entry", "entry"), Column("time_ratio", "time, medians", _ms),
    Column("time_ratio_min", "time, minima", _ms), Column("noise_band", "noise band", _percent),
    Column("verdict", "verdict"))
_COUNT_RATIOS = (
    _FILE, Column("baseline", "baseline"), Column("entry", "entry"),
    Column("instruction_ratio", "instructions, medians", _ms),
    Column("instruction_ratio_min", "instructions, minima", _ms), Column("instruction_spread", "spread", _small),
    Column("verdict", "verdict"))
_RATIO_LEGEND = ("Entry divided by baseline, of one interleaved run: below 1 is better.",)
_DIVERGENCE = (
    _FILE, Column("artifact", "artifact", _hash), Column("reference", "reference", _hash), Column("batch", "batch"),
    Column("inputs", "inputs"), Column("max_difference", "largest difference", _small),
    Column("relative_difference", "of the output's range", _small), Column("limit", "limit", _small),
    Column("status", "status"))


# ---------------------------------------------------------------- rows


def _rows(make: Callable[[str, AccuracyResult], Row], results: Sequence[tuple[str, AccuracyResult]],
          task: str) -> tuple[Row, ...]:
    return tuple(make(n, r) for n, r in results if (r.metrics.single_label is None) == (task == "multi-label"))


def _accuracy(name: str, r: AccuracyResult) -> Row:
    row: dict[str, Cell] = {"file": name, "artifact": r.artifact, "device": r.device.name, "threads": r.threads,
                            "images": r.dataset.images, "gate": _gate(r)}
    if single := r.metrics.single_label:
        row |= {"top1": single.top1, "top1_low": single.top1_interval[0], "top1_high": single.top1_interval[1],
                "top5": single.top5}
    if multi := r.metrics.multi_label:
        row |= {"exact_match": multi.exact_match, "precision": multi.precision, "recall": multi.recall,
                "f1": multi.f1, "macro_f1": multi.macro_f1, "mean_average_precision": multi.mean_average_precision}
    return row


def _gate(r: AccuracyResult) -> str | None:
    if r.gate is None:
        return None
    return "PASS" if r.gate.passed else f"FAIL: {'; '.join(r.gate.failures)}"


def _reference(name: str, r: AccuracyResult) -> Row:
    row: dict[str, Cell] = {
        "file": name, "reference": r.reference, "agreement": r.agreement, "flips": len(r.flips),
        "max_logit_difference": r.max_logit_difference, "relative_logit_difference": r.relative_logit_difference}
    if r.paired:
        row |= {"accuracy_difference": r.paired.difference, "difference_low": r.paired.low,
                "difference_high": r.paired.high, "mcnemar_p": r.paired.mcnemar_p}
    return row


def _flips(name: str, r: AccuracyResult) -> list[Row]:
    return [{"file": name, "image": f.image, "label": f.label, "reference_class": f.reference.label,
             "reference_score": f.reference.score, "class": f.prediction.label, "score": f.prediction.score}
            for f in r.flips]


def _measured(name: str, m: Measurement) -> dict[str, Cell]:
    c = m.conditions
    return {"file": name, "artifact": m.artifact, "device": c.before.name, "threads": c.settings.threads,
            "batch": c.settings.batch, "status": "VALID" if m.valid else "INVALID", "reasons": "; ".join(m.reasons)}


def _latency(name: str, m: LatencyResult) -> Row:
    return _measured(name, m) | {
        "p50_ms": m.p50_ms, "p90_ms": m.p90_ms, "p99_ms": m.p99_ms, "min_ms": m.min_ms, "mean_ms": m.mean_ms,
        "samples": len(m.samples_ms), "noise_band": m.noise_band.median}


def _instructions(name: str, m: InstructionResult) -> Row:
    return _measured(name, m) | {
        "emulator": m.conditions.before.emulator, "instructions_per_inference": m.instructions_per_inference,
        "instruction_spread": m.spread}


def _conditions(name: str, c: Conditions) -> Row:
    timed = not c.emulated  # a count is always five runs minus one
    return {"file": name, "measured_at": c.measured_at, "warmup": c.settings.warmup if timed else None,
            "runs": c.settings.runs if timed else None, "repeats": c.settings.repeats,
            "affinity": _joined(c.affinity), "cpu": c.before.cpu_model,
            "gpu": str(c.before.gpu) if c.before.gpu else None,
            "kernel": c.before.kernel, "governor": c.before.governor, "clocks_before_mhz": _joined(c.before.clocks_mhz),
            "clocks_after_mhz": _joined(c.after.clocks_mhz), "temperature_before_c": c.before.temperature_c,
            "temperature_after_c": c.after.temperature_c, "load_before": c.before.load,
            "tools": ", ".join(f"{k} {v}" for k, v in sorted(c.tools.items()))}


def _joined(values: Sequence[float] | None) -> str | None:
    return None if values is None else " ".join(f"{v:g}" for v in values)


def _ratios(comparisons: Sequence[tuple[str, Comparison]], unit: str) -> Iterator[Row]:
    kind, noise = ("time", "noise_band") if unit == "time" else ("instruction", "instruction_spread")
    for name, comparison in comparisons:
        for r in comparison.ratios:
            if r.unit == unit:
                yield {"file": name, "baseline": comparison.baseline, "entry": r.name, f"{kind}_ratio": r.median,
                       f"{kind}_ratio_min": r.minimum, noise: r.noise_band,
                       "verdict": r.verdict.upper() if r.verdict == "invalid" else r.verdict}


def _divergence(name: str, r: DivergenceResult) -> Row:
    return {"file": name, "artifact": r.artifact, "reference": r.reference, "batch": r.batch, "inputs": len(r.seeds),
            "max_difference": r.max_difference, "relative_difference": r.relative_difference, "limit": r.limit,
            "status": "PASS" if r.passed else "FAIL"}


def _notes(report: Report) -> Iterator[Row]:
    for named in report.results:
        if not isinstance(named.result, Comparison):
            yield from ({"file": named.name, "note": note} for note in named.result.notes)
    for name, measurement in measurements(report):
        if name not in {n.name for n in report.results}:
            yield from ({"file": name, "note": note} for note in measurement.notes)
