"""Was the machine left to those who measured? What their own figures cannot tell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import psutil

from edgecls.harness.statistics import spread

MOST_FOREIGN_CPU = 0.05
MOST_PEAK_CHANGE = 0.05


def steady(peaks: Sequence[float]) -> list[int]:
    """The rounds before and after which the machine kept one speed: as many as lie in one band of MOST_PEAK_CHANGE, in
    the faster one of two with equally many. A single reading that is far above or below spoils its own rounds alone.

    peaks: of multiply-adds, one before each round and one after the last.
    """
    found = ([number for number, pair in enumerate(pairwise(peaks))
              if low <= min(pair) and max(pair) <= low * (1 + MOST_PEAK_CHANGE)] for low in sorted(peaks, reverse=True))
    return max(found, key=len)


def disturbances(peaks: Sequence[float], counted: Sequence[int], foreign_cpus: float) -> list[str]:
    """Reasons not to trust what was measured in the rounds `counted`. peaks: as for `steady`."""
    around = [peak for number in counted for peak in peaks[number:number + 2]]
    found = []
    if foreign_cpus > MOST_FOREIGN_CPU:
        found.append(f"other programs kept {foreign_cpus:.2f} CPUs busy, more than {MOST_FOREIGN_CPU:.2f}")
    if spread(around) > MOST_PEAK_CHANGE:
        found.append(f"the peak of multiply-adds varied by {spread(around):.1%}, more than {MOST_PEAK_CHANGE:.0%}")
    return found


@contextlib.contextmanager
def foreign_cpus() -> Iterator[list[float]]:
    """A list that afterwards holds how many CPUs were kept busy by others than this process and its descendants."""
    before, started = _busy() - _own(), time.monotonic()
    found = list[float]()
    yield found
    found.append(max(0.0, _busy() - _own() - before) / (time.monotonic() - started))


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _own() -> float:
    this, total = psutil.Process(), 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
