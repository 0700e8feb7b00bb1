"""What attention computes on, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecls.types import Array


@dataclass(frozen=True, eq=False)
class Heads:
    """Queries, keys or values in an image. Head h is channels start + h * step and `size` of them. tokens: (groups per
    image, tokens): the pixel of each; attention stays within a group: an image, or a window of it."""

    base: Any
    start: int
    step: int
    size: int
    tokens: Array

    @property
    def in_order(self) -> bool:
        return np.array_equal(self.tokens.reshape(-1), np.arange(self.tokens.size))


@dataclass(frozen=True, eq=False)
class Gate:
    """weights * factor + summand, divided by their sum if `normalised`. factor: (heads,). summand: (1, heads or 1,
    queries, keys)."""

    factor: Array
    summand: Array
    normalised: bool


@dataclass(frozen=True, eq=False)
class Attention:
    """images: of queries, keys and values alike. biases: (groups or 1, heads or 1, queries, keys)."""

    images: int
    heads: int
    queries: Heads
    keys: Heads
    values: Heads
    scale: float
    biases: tuple[Array, ...] = ()
    gate: Gate | None = None

    @property
    def multiply_adds(self) -> int:
        groups, rows = self.queries.tokens.shape
        columns = int(self.keys.tokens.shape[1])
        return int(self.images * groups * self.heads * rows * columns * (self.keys.size + self.values.size))
