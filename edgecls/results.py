"""What edgecls reports: frozen results with stable JSON keys, and the one schema that documents them.

Every result names its `kind`, its `format`, the `edgecls` version that made it and the hash of the `artifact` it speaks
of. Times end in `_ms` and exist only in a LatencyResult; an emulated device gives an InstructionResult, which has none.
A number that does not exist (no reference, output not finite, too few samples) is null, never a stand-in.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

import msgspec

from edgecls import __version__
from edgecls.errors import DataError
from edgecls.frozen import Frozen, decode_json
from edgecls.types import DeviceFacts, Gate, Manifest, MeasureSettings, Unsupported

RESULT_FORMAT = 1
_LONGEST_MS = 1e9  # eleven days


class _Result(Frozen):
    """artifact: SHA-256 of the bundle, or of the ONNX file where there is no bundle yet."""

    artifact: str
    format: int = RESULT_FORMAT
    edgecls: str = __version__


class Prediction(Frozen):
    """One class. label: its name, or its index in digits. score: probability; null when the output is not finite."""

    index: int
    label: str
    score: float | None


# ---------------------------------------------------------------- run, check, explain


class ImageAnswer(Frozen):
    """top: likeliest first. note: what decoding had to change ("CMYK converted to RGB"), or ""."""

    image: str
    top: tuple[Prediction, ...]
    note: str = ""


class RunResult(_Result, tag_field="kind", tag="run"):
    """`edgecls run`: the likeliest classes of each image."""

    device: DeviceFacts
    threads: int
    images: tuple[ImageAnswer, ...]


class CheckResult(_Result, tag_field="kind", tag="check"):
    """`edgecls check`: can `backend` compile every node of `model` for `target`? artifact: hash of the ONNX bytes."""

    model: str
    target: str
    backend: str
    supported: bool
    unsupported: tuple[Unsupported, ...]
    notes: tuple[str, ...] = ()


class ExplainResult(_Result, tag_field="kind", tag="explain"):
    """`edgecls explain`: all that a bundle says of itself."""

    manifest: Manifest


# ---------------------------------------------------------------- validate


class SingleLabelMetrics(Frozen):
    """Fractions of 1 over `images`. top1_interval: 95 % Wilson score interval of top1."""

    images: int
    top1: float
    top5: float
    top1_correct: int
    top5_correct: int
    top1_interval: tuple[float, float]


class MultiLabelMetrics(Frozen):
    """Fractions of 1. precision, recall, f1: over all decisions (micro); macro_f1: mean over classes that occur in the
    truth or the answers. mean_average_precision: over classes with a positive image; null when there is none.
    exact_match: images whose whole set of labels is right.
    """

    images: int
    exact_match: float
    precision: float
    recall: float
    f1: float
    macro_f1: float
    mean_average_precision: float | None


class Metrics(Frozen):
    """The one that belongs to the network's task; the other is null."""

    single_label: SingleLabelMetrics | None = None
    multi_label: MultiLabelMetrics | None = None


class ImageRow(Frozen):
    """One image. labels: what the data set accepts (single-label) or demands (multi-label).

    predictions: the five likeliest classes (single-label), or those above their threshold (multi-label).
    correct: top-1 is an accepted label, or the set of labels is right. correct_top5: null for multi-label.
    reference: the reference's predictions. max_logit_difference: absolute; relative_logit_difference: divided by the
    range (largest minus smallest) of the reference's logits of this image.
    """

    image: str
    labels: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    correct: bool
    correct_top5: bool | None
    reference: tuple[Prediction, ...] | None = None
    agrees: bool | None = None
    max_logit_difference: float | None = None
    relative_logit_difference: float | None = None
    note: str = ""


class Flip(Frozen):
    """An answer that differs from the reference's. Single-label: the two top-1 classes with their scores.
    Multi-label: one class that crossed its threshold, with both scores. label: the data set's, joined by |.
    """

    image: str
    label: str
    reference: Prediction
    prediction: Prediction


class PairedDifference(Frozen):
    """Accuracy minus the reference's accuracy on the same images, and its confidence interval.

    mcnemar_p: exact two-sided p-value that both are equally accurate. The four counts are all that is used.
    """

    difference: float
    low: float
    high: float
    confidence: float
    method: str
    mcnemar_p: float
    mcnemar_method: str
    both_correct: int
    only_this_correct: int
    only_reference_correct: int
    neither_correct: int


class GateVerdict(Frozen):
    """failures: one sentence for each condition of `asked` that does not hold."""

    asked: Gate
    passed: bool
    failures: tuple[str, ...]


class DatasetFacts(Frozen):
    """images: used; available: before --limit took its evenly spread subset."""

    path: str
    images: int
    available: int


class AccuracyResult(_Result, tag_field="kind", tag="validate"):
    """`edgecls validate`. reference: hash of what it is compared with; without one all about it is null.

    agreement: fraction of images with the reference's top-1 (multi-label: set of labels). max_logit_difference: largest
    absolute difference; relative_logit_difference: largest difference of an image divided by the range of the
    reference's logits of that image; null when an output is not finite. non_finite: images with such an output; they
    count as wrong and as disagreeing. gate: null when nothing was asked for.
    """

    device: DeviceFacts
    threads: int
    dataset: DatasetFacts
    metrics: Metrics
    reference: str | None
    reference_metrics: Metrics | None
    agreement: float | None
    max_logit_difference: float | None
    relative_logit_difference: float | None
    non_finite: int
    flips: tuple[Flip, ...]
    paired: PairedDifference | None
    gate: GateVerdict | None
    images: tuple[ImageRow, ...]
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- bench


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

    @property
    def emulated(self) -> bool:
        return self.before.emulated or self.after.emulated


class NoiseBand(Frozen):
    """How far two measurements of one artifact lie apart: (largest - smallest) / smallest over the repeats, of their
    medians and of their minima. A difference between artifacts that is smaller means nothing.
    """

    median: float
    minimum: float


class LatencyResult(_Result, tag_field="kind", tag="bench"):
    """`edgecls bench` on a real device. Milliseconds per inference of conditions.settings.batch images.

    samples_ms: raw, in the order of time; sample_repeat: which repeat each belongs to; repeats_ms: the same samples by
    repeat. Percentiles are nearest-rank: the
    smallest sample that at least that share of the samples does not exceed; null when no sample could lie above it.
    reasons: why it is not valid, empty when it is. notes: what could not be checked.
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

    def __post_init__(self) -> None:
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


class InstructionResult(_Result, tag_field="kind", tag="bench-instructions"):
    """`edgecls bench` where only executed instructions can be counted. It says nothing of time.

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


class Comparison(_Result, tag_field="kind", tag="compare"):
    """Several artifacts measured in one interleaved run. artifact: the baseline's hash."""

    baseline: str
    entries: tuple[Compared, ...]
    ratios: tuple[Ratio, ...]
    valid: bool
    reasons: tuple[str, ...]


class OutputDifference(Frozen):
    """One output on one seeded input. relative_difference: max_difference / reference_range (largest minus
    smallest).
    """

    output: str
    seed: int
    max_difference: float | None
    reference_range: float | None
    relative_difference: float | None


class DivergenceResult(_Result, tag_field="kind", tag="divergence"):
    """Outputs of two sessions on seeded random inputs: numeric parity, which says nothing of accuracy."""

    reference: str
    batch: int
    seeds: tuple[int, ...]
    outputs: tuple[OutputDifference, ...]
    max_difference: float | None
    relative_difference: float | None
    limit: float
    passed: bool
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- report

Reportable = AccuracyResult | LatencyResult | InstructionResult | Comparison | DivergenceResult


class Named(Frozen):
    """name: of the file it came from."""

    name: str
    result: AccuracyResult | LatencyResult | InstructionResult | Comparison | DivergenceResult


class Report(Frozen, tag_field="kind", tag="report"):
    """`edgecls report -o FILE.json`: whole results side by side, so that every number can be traced."""

    results: tuple[Named, ...]
    artifacts: tuple[str, ...]
    format: int = RESULT_FORMAT
    edgecls: str = __version__


AnyResult = RunResult | CheckResult | ExplainResult | Reportable | Report
RESULT_TYPES: dict[str, type[Any]] = {
    "validate": AccuracyResult,
    "bench": LatencyResult,
    "bench-instructions": InstructionResult,
    "compare": Comparison,
    "divergence": DivergenceResult,
    "run": RunResult,
    "check": CheckResult,
    "explain": ExplainResult,
    "report": Report,
}


class _Header(msgspec.Struct):
    kind: str = ""
    format: int = 0
    edgecls: str = "unknown"


def parse_result(data: bytes, origin: str) -> AnyResult:
    """Any result from its JSON. Raises DataError naming `origin` and what is wrong with it."""
    again = "give a file that an edgecls command wrote with --json"
    try:
        header = decode_json(data, _Header)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{origin}: not a result: {error}", again) from None
    if header.kind not in RESULT_TYPES:
        raise DataError(f"{origin}: its kind is {header.kind!r}; known are {', '.join(RESULT_TYPES)}", again)
    if header.format != RESULT_FORMAT:
        raise DataError(f"{origin}: result format {header.format} of edgecls {header.edgecls}; this version reads "
                        f"{RESULT_FORMAT}", "measure again with this version of edgecls")
    try:
        result: AnyResult = decode_json(data, RESULT_TYPES[header.kind])
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{origin}: not a {header.kind} result: {error}", again) from None
    return result


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of every output. Every key is always present, so every key is required."""
    _, components = msgspec.json.schema_components((*RESULT_TYPES.values(), Manifest), ref_template="#/$defs/{name}")
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])  # Python 3.13 does so by itself
        if "properties" in component:
            component["required"] = sorted(component["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgecls results",
        "description": "Every JSON file that edgecls writes; `kind` tells which. "
                       "Made by `python -m edgecls.results`; do not edit.",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in RESULT_TYPES.values()],
        "$defs": dict(sorted(components.items())),
    }


if __name__ == "__main__":
    import sys

    from edgecls.frozen import encode_json

    sys.stdout.buffer.write(encode_json(schema(), indent=True))
