"""validate, and numeric parity on random inputs."""

from __future__ import annotations

from edgecls.frozen import Frozen
from edgecls.results.base import Prediction, Result
from edgecls.types import DeviceFacts, Gate


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


class AccuracyResult(Result, tag_field="kind", tag="validate"):
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


class OutputDifference(Frozen):
    """One output on one seeded input. relative_difference: max_difference / reference_range (largest minus
    smallest).
    """

    output: str
    seed: int
    max_difference: float | None
    reference_range: float | None
    relative_difference: float | None


class DivergenceResult(Result, tag_field="kind", tag="divergence"):
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
