"""One turn of a reduction: what is added to the sums of a register tile between two jumps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """sums[row] += lane `lane` of the vector at `place` times the vectors of weights from `weights` on, for all
    (row, place, lane) in `terms`. In floats from the unit's beginning."""

    weights: int
    terms: tuple[tuple[int, int, int], ...]

    @property
    def places(self) -> tuple[int, ...]:
        return tuple(sorted({place for _, place, _ in self.terms}))


@dataclass(frozen=True)
class Turn:
    """What is added to `rows` x `vectors` sums between two jumps: `units` times the same products, each time `distance`
    floats further in the data and `weights` floats in the weights. between: floats from one vector of a product's
    weights to the next. half: the last vector of each row of sums is half a vector. alone: nothing can be read beside
    an element."""

    rows: int
    vectors: int
    products: tuple[Product, ...]
    distance: int
    weights: int
    between: int
    units: int = 1
    half: bool = False
    alone: bool = False
    fetched: int = 0

    @property
    def sums(self) -> int:
        return self.rows * self.vectors

    @property
    def first(self) -> int:
        """Lowest place of a unit."""
        return min(place for product in self.products for place in product.places)


@dataclass(frozen=True)
class Columns:
    """Of a kernel, `count` with these steps, in pixels. planar: pixels are single floats, not blocks of channels."""

    count: int = 1
    stride: int = 1
    dilation: int = 1
    planar: bool = False


# rows of a tile that lie side by side, each multiplied by weights of its own
NEIGHBOURS = Columns()


def products(columns: Columns, reached: Sequence[tuple[int, ...]], channels: int, vectors: int,
             lanes: int) -> tuple[Product, ...]:
    """Of one block of input channels, or of one plane. reached: for each column the rows of the tile that it serves;
    places are counted from the first column under row 0; weights lie as [column][channel][vector]."""
    pixel = {(column, r): r * columns.stride + column * columns.dilation
             for column, rows in enumerate(reached) for r in rows}
    if columns.planar:
        low, high = min(pixel.values()), max(pixel.values())
        # the last vector begins so early that nothing behind the row is read
        first = {key: min(low + (p - low) // lanes * lanes, high + 1 - lanes) for key, p in pixel.items()}
        return tuple(Product(column * vectors * lanes, tuple((r, first[column, r], pixel[column, r] - first[column, r])
                                                             for r in rows))
                     for column, rows in enumerate(reached) if rows)
    return tuple(Product((column * channels + k) * vectors * lanes,
                         tuple((r, pixel[column, r] * lanes, k) for r in rows))
                 for column, rows in enumerate(reached) if rows for k in range(channels))
