"""Everybody gets the same number of turns, and nobody always follows the same other."""

from __future__ import annotations

from collections import Counter

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

    samples = play(measure, turns, 3, lambda number: said.append(str(number)))
    assert said == ["0", "a", "b", "1", "b", "a", "2", "b", "a"]
    assert samples == {"a": [[2], [6], [9]], "b": [[3], [5], [8]]}
