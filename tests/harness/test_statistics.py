"""Statistics against numpy, scipy and published values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgecls.harness.statistics import mcnemar, paired_difference, percentile, spread, tail_percentile, wilson

VALUES = st.lists(st.integers(0, 10**12), min_size=1, max_size=300)


@given(VALUES, st.integers(1, 100))
def test_percentile_is_the_smallest_value_that_enough_do_not_exceed(values, percent):
    got = percentile(values, percent)
    assert got in values
    assert sum(v <= got for v in values) * 100 >= percent * len(values)
    assert sum(v < got for v in values) * 100 < percent * len(values)


@given(VALUES, st.sampled_from([25, 50, 75]))  # fractions that numpy's floating-point rank holds exactly
def test_percentile_is_numpys_inverted_cdf(values, percent):
    assert percentile(values, percent) == np.percentile(values, percent, method="inverted_cdf")


@pytest.mark.parametrize(("percent", "needed"), [(90, 10), (99, 100), (50, 2)])
def test_a_tail_percentile_needs_a_sample_above_it(percent, needed):
    assert tail_percentile(list(range(needed - 1)), percent) is None
    values = list(range(needed))
    got = tail_percentile(values, percent)
    assert got is not None and got < max(values)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_test(only_first, only_second):
    n = only_first + only_second
    expected = stats.binomtest(only_first, n, 0.5).pvalue if n else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case):
    successes, n = case
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def pairs(both, first, second, neither):
    outcomes = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    return [a for a, _ in outcomes], [b for _, b in outcomes]


# Newcombe's method 10 for the paired tables of Cavo et al. 2012 (as the R package contingencytables prints it) and of
# Bentur et al. 2009 (Fagerland, Lydersen, Laake, Statistics in Medicine 33 (2014) 2850-2875).
@pytest.mark.parametrize(("table", "difference", "low", "high"), [
    ((59, 6, 16, 80), -0.0621, -0.1186, -0.0046),
    ((1, 1, 7, 12), -0.2857, -0.5069, -0.0256),
])
def test_paired_interval_is_the_published_one(table, difference, low, high):
    result = paired_difference(*pairs(*table))
    assert (result.difference, result.low, result.high) == pytest.approx((difference, low, high), abs=5e-5)


@given(st.tuples(*[st.integers(0, 60)] * 4).filter(any))
def test_paired_interval_holds_its_estimate_and_turns_around_with_its_arguments(table):
    first, second = pairs(*table)
    result, turned = paired_difference(first, second), paired_difference(second, first)
    assert -1 <= result.low <= result.difference <= result.high <= 1
    assert (turned.low, turned.high) == pytest.approx((-result.high, -result.low), abs=1e-12)
    assert result.difference == pytest.approx(np.mean(first) - np.mean(second))
    assert result.mcnemar_p == turned.mcnemar_p


def test_paired_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    p = [0.5, 0.12, 0.05, 0.33]
    truth = p[1] - p[2]
    covered = 0
    for table in rng.multinomial(60, p, size=2000):
        result = paired_difference(*pairs(*table))
        covered += result.low <= truth <= result.high
    assert 0.935 < covered / 2000 < 0.98


def test_spread():
    assert spread([4.0, 5.0, 4.5]) == 0.25
    assert spread([3, 3]) == 0
    assert math.isfinite(spread([0, 1]))
