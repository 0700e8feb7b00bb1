"""Everybody gets the same number of turns, and nobody always follows the same other."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.peers.conditions import disturbances
from benchmarks.peers.rounds import Turn, order, play, turn

NAMES = ["a", "b", "c", "d"]


def test_every_round_has_everybody_once():
    assert all(sorted(order(NAMES, number)) == NAMES for number in range(20))


def test_each_comes_first_and_last_equally_often():
    rounds = [order(NAMES, number) for number in range(2 * len(NAMES))]
    assert set(Counter(r[0] for r in rounds).values()) == {2}
    assert set(Counter(r[-1] for r in rounds).values()) == {2}
    assert rounds[1] == rounds[0][::-1]


def test_turns_take_about_the_same_time_within_limits():
    assert turn(10.0) == Turn(warmup=6, runs=20)
    assert turn(1000.0) == Turn(warmup=3, runs=3)
    assert turn(0.0) == Turn(warmup=200, runs=200)


def test_samples_are_kept_by_engine_and_round():
    said = []
    turns = {"a": Turn(1, 2), "b": Turn(3, 4)}

    def measure(name, asked):
        assert asked == turns[name]
        said.append(name)
        return [len(said)]

    def peak(number):
        said.append(str(number))
        return 1e9

    samples, counted = play(measure, turns, 3, peak)
    assert said == ["0", "a", "b", "1", "b", "a", "2", "b", "a", "3"]
    assert samples == {"a": [[2], [6], [9]], "b": [[3], [5], [8]]}
    assert counted == [0, 1, 2]


@pytest.mark.parametrize(("peaks", "played", "counted"), [
    ((1.0, 1.0, 1.0), 2, [0, 1]),
    ((1.0, 0.9, 1.0, 0.96, 1.0), 4, [2, 3]),  # the slow moment spoils the rounds before and after it
    ((1.0, 1.0, 1.1, 1.1, 1.1), 4, [2, 3]),
    ((1.0, 1.1, 1.1, 1.1), 3, [1, 2]),  # another speed before it settled
    ((1.0, 1.3, 1.0, 1.0, 1.0), 4, [2, 3]),  # one reading far above
    ((1.0, 0.9) * 4, 6, [0, 1, 2, 3, 4, 5]),  # never steady: all count, and the peaks tell
])
def test_rounds_that_met_another_clock_are_played_again(peaks, played, counted):
    samples, found = play(lambda name, asked: [0], {"a": Turn(1, 1)}, 2, lambda number: peaks[number])
    assert (len(samples["a"]), found) == (played, counted)
    assert bool(disturbances(peaks[:played + 1], found, 0.0)) == (len(found) > 2)
