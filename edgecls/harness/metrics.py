"""Accuracy metrics from what every image was answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecls.harness.statistics import wilson
from edgecls.results import MultiLabelMetrics, SingleLabelMetrics
from edgecls.types import Array


def single_label(top1: Sequence[bool], top5: Sequence[bool]) -> SingleLabelMetrics:
    """From one or more images, each right or wrong."""
    n, first, fifth = len(top1), sum(top1), sum(top5)
    return SingleLabelMetrics(images=n, top1=first / n, top5=fifth / n, top1_correct=first, top5_correct=fifth,
                              top1_interval=wilson(first, n))


def multi_label(truth: Array, answered: Array, scores: Array) -> MultiLabelMetrics:
    """truth, answered: bool (images, classes). scores: float (images, classes), NaN ranks last."""
    hits, said, wanted = (truth & answered).sum(axis=0), answered.sum(axis=0), truth.sum(axis=0)
    occurs = (said + wanted) > 0
    f1 = 2 * hits[occurs] / (said + wanted)[occurs]
    precisions = [average_precision(truth[:, c], scores[:, c]) for c in np.flatnonzero(wanted)]
    return MultiLabelMetrics(
        images=len(truth),
        exact_match=float((truth == answered).all(axis=1).mean()),
        precision=_ratio(hits.sum(), said.sum()),
        recall=_ratio(hits.sum(), wanted.sum()),
        f1=_ratio(2 * hits.sum(), said.sum() + wanted.sum()),
        macro_f1=float(f1.mean()) if f1.size else 1.0,
        mean_average_precision=float(np.mean(precisions)) if precisions else None,
    )


def average_precision(truth: Array, scores: Array) -> float:
    """Sum of (R_n - R_n-1) * P_n over the distinct scores, highest first; images of equal score count together.

    truth: bool (images,) with at least one True. scores: float (images,).
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(order) - 1)
    hits = np.cumsum(truth[order])[ends]
    gained = np.diff(hits, prepend=0) / hits[-1]
    return float((gained * hits / (ends + 1)).sum())


def _ratio(part: int, whole: int) -> float:
    """With nothing to get right nothing went wrong: 1."""
    return float(part / whole) if whole else 1.0
