"""What others do on this machine is told from what this process and its descendants do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.peers.conditions import _own, disturbances, foreign_cpus, steady

BURN = "import sys, time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\nsys.stdin.read()"


def test_the_time_of_descendants_is_our_own_while_they_run_and_afterwards():
    before = _own()
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdin
        child.stdout.readline()
        during = _own()
        child.stdin.close()
    assert during - before >= 0.15
    assert _own() >= during - 1e-6  # sums of floats in another order


def test_what_others_used_is_known_afterwards():
    with foreign_cpus() as found:
        assert found == []
    assert len(found) == 1 and found[0] >= 0


@pytest.mark.parametrize(("peaks", "foreign", "said"), [
    ((1.0, 1.04), 0.04, []),
    ((1.0, 1.2), 0.0, ["the peak of multiply-adds varied by 20.0%, more than 5%"]),
    ((1.0, 1.0), 0.5, ["other programs kept 0.50 CPUs busy, more than 0.05"]),
])
def test_disturbances_are_named(peaks, foreign, said):
    assert disturbances(peaks, [0], foreign) == said


def test_of_two_bands_with_as_many_rounds_the_faster_counts():
    assert steady((1.0, 1.02, 1.2, 1.2)) == [2]
    assert steady((1.0, 1.02, 1.04, 1.2, 1.2)) == [0, 1]
    assert steady((1.0, 1.04, 1.08)) == [1]
    assert steady((1.0, 1.2)) == []


def test_only_the_peaks_around_rounds_that_count_are_judged():
    assert disturbances((1.0, 1.0, 2.0), [0], 0.0) == []
    assert disturbances((1.0, 1.0, 2.0), [1], 0.0)
