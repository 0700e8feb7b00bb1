"""The few statistics that results need, each with its definition and its source. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeVar

from edgecls.results import PairedDifference

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
_METHOD = ("Newcombe, score interval for paired proportions (method 10): R. G. Newcombe, Statistics in Medicine 17 "
           "(1998) 2635-2650")
_MCNEMAR = "McNemar, exact two-sided binomial: Q. McNemar, Psychometrika 12 (1947) 153-157"

N = TypeVar("N", int, float)


def percentile(values: Sequence[N], percent: int) -> N:
    """Nearest-rank percentile: the smallest value that at least `percent` % of the values do not exceed.

    It is always one of the values (Hyndman and Fan, The American Statistician 50 (1996) 361-365, definition 1).
    """
    rank = max(1, -(-percent * len(values) // 100))
    return sorted(values)[rank - 1]


def tail_percentile(values: Sequence[float], percent: int) -> float | None:
    """As `percentile`, but None when there are too few values for one to lie above it: p99 needs 100 of them."""
    return percentile(values, percent) if len(values) * (100 - percent) >= 100 else None


def spread(values: Sequence[float]) -> float:
    """(largest - smallest) / smallest; 1 where that would divide by 0."""
    low, high = min(values), max(values)
    if low == high:
        return 0.0
    return (high - low) / low if low > 0 else 1.0


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % score interval of a proportion: E. B. Wilson, Journal of the American Statistical Association 22 (1927)."""
    p = successes / n
    centre = p + _Z**2 / (2 * n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return max(0.0, min(p, (centre - half) / scale)), min(1.0, max(p, (centre + half) / scale))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that both kinds of discordant pair are equally likely; 1 when there is none.

    2 * P(X <= min) for X ~ Binomial(n, 1/2), at most 1. Whole numbers until the last division.
    """
    n, smaller = only_first + only_second, min(only_first, only_second)
    term = total = 1
    for i in range(smaller):
        term = term * (n - i) // (i + 1)
        total += term
    return min(1.0, 2 * total / (1 << n))


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> PairedDifference:
    """How much more often `first` is right than `second` on the same images (one or more), with a 95 % interval.

    With e, f, g, h = both, only first, only second, neither right and n their sum, the interval joins the Wilson
    intervals of (e + f) / n and (e + g) / n by the correlation of the pairs (Newcombe's method 10, in which the
    numerator of a positive correlation is reduced by n / 2, but not below 0).
    """
    e, f, g, h = (sum(a == x and b == y for a, b in zip(first, second, strict=True))
                  for x, y in ((True, True), (True, False), (False, True), (False, False)))
    n = e + f + g + h
    p1, p2 = (e + f) / n, (e + g) / n
    low1, high1 = wilson(e + f, n)
    low2, high2 = wilson(e + g, n)
    product = (e + f) * (g + h) * (e + g) * (f + h)
    association: float = e * h - f * g
    if association > 0:
        association = max(association - n / 2, 0)
    phi = association / math.sqrt(product) if product else 0.0
    difference = (f - g) / n
    return PairedDifference(
        difference=difference,
        low=max(-1.0, difference - _join(p1 - low1, high2 - p2, phi)),
        high=min(1.0, difference + _join(high1 - p1, p2 - low2, phi)),
        confidence=CONFIDENCE,
        method=_METHOD,
        mcnemar_p=mcnemar(f, g),
        mcnemar_method=_MCNEMAR,
        both_correct=e, only_this_correct=f, only_reference_correct=g, neither_correct=h,
    )


def _join(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))
