"""How the tiles of a Winograd convolution cover an image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Span:
    """`count` neighbouring tiles of `outputs` results along one axis, from result `start` and tile `first` on."""

    start: int
    first: int
    count: int
    outputs: int

    @property
    def end(self) -> int:
        return self.start + self.count * self.outputs


def spans(size: int, m: int, exact: bool) -> tuple[Span, ...]:
    """`size` results as tiles of m. exact: the last tile has no more of them than there are."""
    whole, rest = divmod(size, m)
    if not (exact and rest):
        return (Span(0, 0, -(-size // m), m),)
    last = Span(whole * m, whole, 1, rest)
    return (Span(0, 0, whole, m), last) if whole else (last,)


@dataclass(frozen=True)
class Quarter:
    """Values that equally many tiles have: those of `rows` and `columns`, in `down` x `across` tiles of an image.
    first: how many, of all tiles and values, come before."""

    rows: range
    columns: range
    down: int
    across: int
    tiles: int
    first: int


@dataclass(frozen=True)
class Tiles:
    """Tiles of m x m results that a kernel has at once: those of whole images. A narrower tile in the last row or
    column has fewer of the (m + 2)^2 values, so that these fall into up to four quarters."""

    m: int
    images: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @staticmethod
    def of(m: int, images: int, size: tuple[int, int], strip: int) -> Tiles:
        """`strip` neighbours among the tiles of `images` images of `size` results. Cut anywhere, they are one row of
        whole tiles; as whole images they end where these end."""
        rows, columns = (spans(extent, m, exact=True) for extent in size)
        whole = Tiles(m, 1, rows, columns)
        if strip % whole.count or images * whole.count % strip:
            return Tiles(m, 1, (Span(0, 0, 1, m),), (Span(0, 0, strip, m),))
        return Tiles(m, strip // whole.count, rows, columns)

    @property
    def down(self) -> int:
        return sum(span.count for span in self.rows)

    @property
    def across(self) -> int:
        return sum(span.count for span in self.columns)

    @property
    def count(self) -> int:
        return self.images * self.down * self.across

    @property
    def exact(self) -> bool:
        """Whether some are narrower."""
        return any(span.outputs < self.m for span in (*self.rows, *self.columns))

    @property
    def quarters(self) -> tuple[Quarter, ...]:
        found: list[Quarter] = []
        first = 0
        for (rows, down), (columns, across) in product(self._values(self.rows), self._values(self.columns)):
            tiles = self.images * down * across
            found.append(Quarter(rows, columns, down, across, tiles, first))
            first += len(rows) * len(columns) * tiles
        return tuple(found)

    @property
    def products(self) -> int:
        """Values of all tiles."""
        return sum(len(q.rows) * len(q.columns) * q.tiles for q in self.quarters)

    def _values(self, along: tuple[Span, ...]) -> list[tuple[range, int]]:
        """Of one axis: which values how many tiles have."""
        kept, tiles = along[-1].outputs + 2, sum(span.count for span in along)
        found = [(range(kept), tiles)]
        return [*found, (range(kept, self.m + 2), tiles - 1)] if len(along) > 1 else found
