"""Floors are rates that were measured, and nothing but the best of them counts."""

from __future__ import annotations

import os

import pytest

from benchmarks.peers.floors import RateMeter, Rates, best, cpus, pinned


def rates(flops, read):
    return Rates(lanes=8, flops_per_s=flops, fed_flops_per_s=flops, read_bytes_per_s=read)


def test_the_larger_floor_counts():
    assert rates(1e9, 1e9).floor_ms(2e6, 1e6) == pytest.approx(2.0)
    assert rates(1e9, 1e9).floor_ms(1e6, 3e6) == pytest.approx(3.0)


def test_the_best_of_each_kind():
    assert best([rates(1.0, 5.0), rates(3.0, 4.0)]) == rates(3.0, 5.0)


def test_threads_get_cpus_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    assert len(cpus(1)) == 1
    assert set(cpus(len(allowed) + 1)) == allowed


def test_pinning_ends():
    allowed = os.sched_getaffinity(0)
    with pinned(1):
        assert os.sched_getaffinity(0) == set(cpus(1))
    assert os.sched_getaffinity(0) == allowed


def test_the_micro_benchmark_builds_and_answers(tmp_path):
    found = RateMeter(tmp_path).measure(1, 1_000_000)
    assert found.lanes in (4, 8, 16)
    assert found.flops_per_s > 0
    assert found.fed_flops_per_s > 0
    assert found.read_bytes_per_s > 0
