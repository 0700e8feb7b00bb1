"""What the worker asks of an engine."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class BaseEngine(ABC):
    """One network, loaded with one input, ready to be inferred again and again."""

    @abstractmethod
    def __init__(self, model: Path, threads: int, tensor: Array) -> None: ...

    @abstractmethod
    def infer(self) -> Any:
        """One inference, and nothing else that could be left out."""

    @abstractmethod
    def output(self) -> Array:
        """What the last inference gave."""

    def measure(self, warmup: int, runs: int) -> list[int]:
        """Nanoseconds of each of `runs` inferences."""
        for _ in range(warmup):
            self.infer()
        times = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            self.infer()
            times.append(time.perf_counter_ns() - start)
        return times
