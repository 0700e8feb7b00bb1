"""The turns of an interleaved session."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

from benchmarks.peers.conditions import steady

TURN_MS = 200.0
_WARM_MS = 60.0
_LEAST, _MOST = 3, 200
_MOST_ROUNDS = 3

Name = TypeVar("Name", bound=Hashable)
Sample = TypeVar("Sample")


class Turn(NamedTuple):
    """Inferences of one turn."""

    warmup: int
    runs: int


def order(names: Sequence[Name], number: int) -> list[Name]:
    """Who measures when in this round: each starts once, and every other round goes backwards, so that slow changes
    and what the one before leaves behind meet all alike."""
    start = number // 2 % len(names)
    turned = [*names[start:], *names[:start]]
    return turned if number % 2 == 0 else turned[::-1]


def turn(ms: float) -> Turn:
    """For an engine that takes `ms`: the same time for each, but never less than a few runs."""
    return Turn(*(min(_MOST, max(_LEAST, round(budget / max(ms, 1e-3)))) for budget in (_WARM_MS, TURN_MS)))


def play(measure: Callable[[Name, Turn], Sequence[Sample]], turns: dict[Name, Turn], rounds: int,
         peak: Callable[[int], float]) -> tuple[dict[Name, list[Sequence[Sample]]], list[int]]:
    """What was measured, by name and round; and which rounds count: `rounds` of them with a steady peak.

    A round that met another clock is played again, up to _MOST_ROUNDS times as many in all; when those are not enough,
    all count, and the peaks tell. peak: measures the machine's before each round, which it is told the number of, and
    after the last.
    """
    samples: dict[Name, list[Sequence[Sample]]] = {name: [] for name in turns}
    peaks, number = [peak(0)], 0
    while len(steady(peaks)) < rounds and number < _MOST_ROUNDS * rounds:
        for name in order(list(turns), number):
            samples[name].append(measure(name, turns[name]))
        number += 1
        peaks.append(peak(number))
    counted = steady(peaks)
    return samples, counted if len(counted) >= rounds else list(range(number))
