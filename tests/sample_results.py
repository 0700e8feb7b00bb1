"""One result of each kind, made by hand so that the goldens never change by themselves."""

from __future__ import annotations

from typing import Any

from edgecls.results import (
    AccuracyResult,
    Compared,
    Comparison,
    Conditions,
    DatasetFacts,
    DivergenceResult,
    Flip,
    GateVerdict,
    ImageRow,
    InstructionResult,
    LatencyResult,
    Limits,
    Metrics,
    MultiLabelMetrics,
    NoiseBand,
    OutputDifference,
    PairedDifference,
    Prediction,
    Ratio,
    SingleLabelMetrics,
)
from edgecls.types import DeviceFacts, Gate, MeasureSettings

A, B = "a" * 64, "b" * 64
BOARD = DeviceFacts(name="ssh://pi@board", machine="aarch64", emulated=False, cpu_model="Cortex-A72", cores=4,
                    kernel="6.1.0", governor="performance", clocks_mhz=(1500.0,) * 4, temperature_c=48.3, load=0.07)
QEMU = DeviceFacts(name="qemu", machine="aarch64", emulated=True, emulator="qemu-aarch64 7.2.0")


def conditions(facts: DeviceFacts, **changes: Any) -> Conditions:
    return Conditions(**{
        "settings": MeasureSettings(warmup=2, runs=5), "limits": Limits(min_samples=10),
        "tools": {"cc": "gcc 12.2.0", "tvm": "0.27.0"}, "affinity": (0, 1), "before": facts, "after": facts,
        "measured_at": "2026-01-02T03:04:05+00:00", **changes})


def latency(**changes: Any) -> LatencyResult:
    samples = (20.0, 20.5, 20.25, 21.0, 20.125, 20.0, 20.75, 20.5, 22.0, 20.375)
    return LatencyResult(**{
        "artifact": A, "edgecls": "0.1.0", "valid": True, "reasons": (), "conditions": conditions(BOARD),
        "samples_ms": samples, "sample_repeat": (0, 1) * 5, "repeats_ms": (samples[::2], samples[1::2]),
        "min_ms": 20.0, "mean_ms": 20.55, "p50_ms": 20.375, "p90_ms": 21.0, "p99_ms": None,
        "noise_band": NoiseBand(median=0.0123, minimum=0.001), "notes": ("p99 needs 100 samples, there are 10",),
        **changes})


def invalid_latency() -> LatencyResult:
    return latency(artifact=B, valid=False, reasons=("the CPU governor is 'ondemand', not 'performance'",))


def instructions(**changes: Any) -> InstructionResult:
    return InstructionResult(**{
        "artifact": A, "edgecls": "0.1.0", "valid": True, "reasons": (), "conditions": conditions(QEMU, affinity=None),
        "instructions_per_inference": 101_234_567, "samples_instructions": (101_234_567, 101_234_570), "spread": 3e-8,
        **changes})


def accuracy(**changes: Any) -> AccuracyResult:
    dog, cat = Prediction(index=1, label="dog", score=0.51), Prediction(index=0, label="cat", score=0.49)
    row = ImageRow(image="photos/1.jpg", labels=("cat",), predictions=(dog, cat), correct=False, correct_top5=True,
                   reference=(cat, dog), agrees=False, max_logit_difference=0.02, relative_logit_difference=0.004,
                   note="CMYK converted to RGB")
    single = SingleLabelMetrics(images=20, top1=0.85, top5=0.95, top1_correct=17, top5_correct=19,
                                top1_interval=(0.6396, 0.9476))
    return AccuracyResult(**{
        "artifact": A, "edgecls": "0.1.0", "device": BOARD, "threads": 2,
        "dataset": DatasetFacts(path="photos.csv", images=20, available=40),
        "metrics": Metrics(single_label=single), "reference": B, "reference_metrics": Metrics(single_label=single),
        "agreement": 0.95, "max_logit_difference": 0.02, "relative_logit_difference": 0.004, "non_finite": 0,
        "flips": (Flip(image="photos/1.jpg", label="cat", reference=cat, prediction=dog),),
        "paired": PairedDifference(
            difference=-0.05, low=-0.236, high=0.12, confidence=0.95, method="Newcombe", mcnemar_p=1.0,
            mcnemar_method="exact", both_correct=17, only_this_correct=0, only_reference_correct=1,
            neither_correct=2),
        "gate": GateVerdict(asked=Gate(min_agreement=1.0), passed=False,
                            failures=("agreement with the reference is 0.9500, below 1",)),
        "images": (row,), "notes": ("1 image(s): CMYK converted to RGB",), **changes})


def several_labels() -> AccuracyResult:
    multi = MultiLabelMetrics(images=20, exact_match=0.5, precision=0.9, recall=0.8, f1=0.847, macro_f1=0.8,
                              mean_average_precision=None)
    return accuracy(metrics=Metrics(multi_label=multi), reference=None, reference_metrics=None, agreement=None,
                    max_logit_difference=None, relative_logit_difference=None, paired=None, gate=None, flips=(),
                    images=(), notes=())


def comparison() -> Comparison:
    entries = (Compared(name="old", measurement=latency()), Compared(name="new", measurement=invalid_latency()))
    return Comparison(artifact=A, edgecls="0.1.0", baseline="old", entries=entries, valid=False,
                      reasons=("new: the CPU governor is 'ondemand', not 'performance'",),
                      ratios=(Ratio(name="new", unit="time", median=0.5, minimum=0.51, noise_band=0.0123,
                                    verdict="invalid"),))


def counted_comparison() -> Comparison:
    entries = tuple(Compared(name=n, measurement=instructions(artifact=a)) for n, a in (("old", A), ("new", B)))
    return Comparison(artifact=A, edgecls="0.1.0", baseline="old", entries=entries, valid=True, reasons=(),
                      ratios=(Ratio(name="new", unit="instructions", median=0.75, minimum=0.75, noise_band=3e-8,
                                    verdict="better"),))


def divergence() -> DivergenceResult:
    row = OutputDifference(output="scores", seed=0, max_difference=1.5e-6, reference_range=3.0,
                           relative_difference=5e-7)
    return DivergenceResult(artifact=A, edgecls="0.1.0", reference=B, batch=1, seeds=(0,), outputs=(row,),
                            max_difference=1.5e-6, relative_difference=5e-7, limit=1e-4, passed=True,
                            notes=("random inputs: numeric parity, not accuracy",))


def every() -> dict[str, Any]:
    return {"validate.json": accuracy(), "tags.json": several_labels(), "bench.json": latency(),
            "hot.json": invalid_latency(), "emulated.json": instructions(), "compare.json": comparison(),
            "counted.json": counted_comparison(), "parity.json": divergence()}
