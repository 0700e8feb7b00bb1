"""A result in a few lines for a person; everything else is in its JSON and in reports."""

from __future__ import annotations

from edgecls.cli.text import megabytes
from edgecls.results import (
    AccuracyResult,
    AnyResult,
    InstructionResult,
    LatencyResult,
    Measurement,
    Metrics,
    MultiLabelMetrics,
)
from edgecls.types import Manifest

_MOST_FLIPS = 20


def summary_lines(result: AnyResult) -> list[str]:
    """Of what validate or bench wrote; [] for other results."""
    if isinstance(result, AccuracyResult):
        return accuracy_lines(result)
    return measurement_lines(result) if isinstance(result, LatencyResult | InstructionResult) else []


def plan_lines(manifest: Manifest) -> list[str]:
    """What compile and finish say of each batch size."""
    lines = []
    for plan in manifest.plans:
        if plan.engine_layers is not None:
            made = f"{plan.network_layers} network layers became {plan.engine_layers} engine layers"
        elif manifest.finished:
            made = f"{plan.calls} kernel calls"
        else:
            lines.append(f"  batch {plan.batch}: {megabytes(manifest.weights_bytes)} of weights")
            continue
        lines.append(f"  batch {plan.batch}: {made}, {megabytes(plan.arena_bytes)} of memory, "
                     f"{megabytes(manifest.weights_bytes)} of weights")
    return lines


def accuracy_lines(result: AccuracyResult) -> list[str]:
    """What `edgecls validate` says."""
    lines = _metric_lines(result.metrics)
    if result.agreement is not None:
        lines.append(f"agreement  {result.agreement:8.2%}  with the reference, {len(result.flips)} flips")
    if result.max_logit_difference is not None and result.relative_logit_difference is not None:
        lines.append(f"logits     {result.max_logit_difference:8.2g}  largest difference to the reference, "
                     f"{result.relative_logit_difference:.2g} of the logit range")
    if result.paired is not None:
        lines.append(f"accuracy   {result.paired.difference:+8.2%}  against the reference "
                     f"({result.paired.confidence:.0%} interval {result.paired.low:+.2%} to {result.paired.high:+.2%})")
    if result.non_finite:
        lines.append(f"warning: {result.non_finite} images gave an output that is not finite; they count as wrong")
    for flip in result.flips[:_MOST_FLIPS]:
        lines.append(f"flip: {flip.image}: {flip.reference.label} -> {flip.prediction.label} (label {flip.label})")
    if len(result.flips) > _MOST_FLIPS:
        lines.append(f"and {len(result.flips) - _MOST_FLIPS} more flips: see --json")
    if result.gate is not None:
        lines += ["gate: passed"] if result.gate.passed else [f"gate FAILED: {f}" for f in result.gate.failures]
    return lines


def _metric_lines(metrics: Metrics) -> list[str]:
    one = metrics.single_label
    if one is not None:
        low, high = one.top1_interval
        return [f"top-1      {one.top1:8.2%}  {one.top1_correct} of {one.images} "
                f"(95% interval {low:.2%} to {high:.2%})",
                f"top-5      {one.top5:8.2%}  {one.top5_correct} of {one.images}"]
    return _multi_label_lines(metrics.multi_label) if metrics.multi_label is not None else []


def _multi_label_lines(many: MultiLabelMetrics) -> list[str]:
    lines = [f"exact      {many.exact_match:8.2%}  of {many.images} images",
             f"precision  {many.precision:8.2%}", f"recall     {many.recall:8.2%}", f"macro F1   {many.macro_f1:8.2%}"]
    if many.mean_average_precision is not None:
        lines.append(f"mAP        {many.mean_average_precision:8.2%}")
    return lines


def measurement_lines(result: Measurement) -> list[str]:
    """What `edgecls bench` says. A count of instructions never looks like a time."""
    settings = result.conditions.settings
    where = f"batch {settings.batch}, {settings.threads} thread(s), on {result.conditions.before.name}"
    if isinstance(result, LatencyResult):
        def milliseconds(value: float | None) -> str:
            return "-" if value is None else f"{value:.3f}"

        lines = [f"p50 {milliseconds(result.p50_ms)} ms, p90 {milliseconds(result.p90_ms)} ms, "
                 f"p99 {milliseconds(result.p99_ms)} ms, min {milliseconds(result.min_ms)} ms "
                 f"({len(result.samples_ms)} runs, {where})",
                 f"noise band {result.noise_band.median:.2%}"]
        if result.gpu_p50_ms is not None:
            gpu = result.conditions.before.gpu
            named = f" ({gpu})" if gpu else ""
            lines.insert(1, f"of which on the GPU{named} p50 {milliseconds(result.gpu_p50_ms)} ms, "
                            f"min {milliseconds(result.gpu_min_ms)} ms; the rest is transfers and the host")
    else:
        lines = [f"{result.instructions_per_inference:,} instructions per inference ({where})",
                 "counted in emulation: this is not a time"]
    lines += ["VALID"] if result.valid else ["INVALID:", *(f"  {reason}" for reason in result.reasons)]
    return lines
