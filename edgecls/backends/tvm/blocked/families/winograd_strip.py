"""A strip of Winograd tiles through its three phases: input transform, products, output transform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.product import STRAIGHT_LINE, Part, pieces
from edgecls.backends.tvm.blocked.families.winograd_steps import Factor, Factors, run
from edgecls.backends.tvm.blocked.multiply import multiply
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.turn import NEIGHBOURS, Turn, products
from edgecls.backends.tvm.blocked.window import Window, balanced
from edgecls.backends.tvm.winograd_programs import Program
from edgecls.backends.tvm.winograd_tiles import Quarter, Span, Tiles
from edgecls.backends.tvm.winograd_transforms import input_transform, output_transform

# blocks of channels whose transforms share a loop
TOGETHER = 4


def tiles(window: Window, m: int) -> tuple[int, int]:
    """Of one image: rows and columns."""
    return -(-window.oh // m), -(-window.ow // m)


@dataclass
class Strip:
    """A strip's tiles, from number `first` on, counted through all images. on_device: the kernel transforms the
    weights. given: the parameter of weights and factors. weights: transformed ones. products: of one group of output
    vectors. half: between the two passes of a transform."""

    simd: Simd
    window: Window
    tiles: Tiles
    rows: int
    on_device: bool
    factors: Factors
    data: Any
    given: Any
    weights: Any
    epilogue: Epilogue
    others: Sequence[Any]
    out: Any
    first: Expr
    transformed: Any
    products: Any
    half: Any

    def transform_input(self, tile: Expr) -> None:
        simd, window = self.simd, self.window
        blocks = -(-window.ci // simd.lanes)
        image, row, column = self._position(tile)
        places = self._places(tile)
        y = simd.bind(row * self.tiles.m - window.pad[0])
        x = simd.bind(column * self.tiles.m - window.pad[1])
        for down, across in product(self.tiles.rows, self.tiles.columns):
            rows, columns = down.outputs, across.outputs
            with self._here(row, column, down, across):
                inside = simd.bind(simd.all(y >= 0, y <= window.h - (rows + 2), x >= 0, x <= window.w - (columns + 2)))
                for count, first, size in pieces(blocks, TOGETHER):
                    with simd.loop(count) as index:
                        start = first + index * size
                        with simd.when(inside):
                            self._columns(rows, columns, image, start, size, lambda plane, j, i: simd.load(
                                self.data, (plane + (y + i) * window.w + x + j) * simd.lanes))
                        with simd.when(simd.tir.Not(inside)):
                            self._columns(rows, columns, image, start, size,
                                          lambda plane, j, i: self._or_zero(plane, y + i, x + j))
                        self._rows(rows, columns, places, start, size)

    def _columns(self, rows: int, columns: int, image: Expr, start: Expr, size: int,
                 pixel: Callable[[Expr, Expr, int], Expr]) -> None:
        """The first 1-D transform of `size` blocks of channels, for rows x columns results. One loop over blocks and
        columns: a loop over columns alone LLVM would unroll, and keep its values in registers that there are not."""
        simd, window = self.simd, self.window
        blocks = -(-window.ci // simd.lanes)
        program = input_transform(self.tiles.m, rows, self.on_device)
        factor = self.factor(program)
        with simd.loop(size * (columns + 2)) as column:
            block, j = simd.divide(column, (size, columns + 2))
            plane = simd.bind((image * blocks + start + block) * (window.h * window.w))
            values = [simd.bind(pixel(plane, j, i)) for i in range(rows + 2)]
            for i, value in enumerate(run(simd, program, values, factor)):
                simd.store(self.half, ((block * (rows + 2) + i) * (columns + 2) + j) * simd.lanes, value)

    def _rows(self, rows: int, columns: int, places: Mapping[Quarter, Expr], start: Expr, size: int) -> None:
        """The second one, of what the first has left. places: of the tile in each quarter."""
        simd, lanes, blocks = self.simd, self.simd.lanes, -(-self.window.ci // self.simd.lanes)
        program = input_transform(self.tiles.m, columns, self.on_device)
        factor = self.factor(program)
        for own in dict.fromkeys(quarter.rows for quarter in places):
            if own.start >= rows + 2:
                continue
            with simd.loop(size * len(own)) as row:
                block, i = simd.divide(row, (size, len(own)))
                place = simd.bind((block * (rows + 2) + own.start + i) * (columns + 2))
                values = [simd.bind(simd.load(self.half, (place + j) * lanes)) for j in range(columns + 2)]
                results = run(simd, program, values, factor)
                for quarter, tile in places.items():
                    if quarter.rows != own:
                        continue
                    line = simd.bind((quarter.first + i * (len(quarter.columns) * quarter.tiles)) * blocks
                                     + (start + block) * quarter.tiles + tile)
                    for j in quarter.columns:
                        if j < columns + 2:
                            to = line + (j - quarter.columns.start) * (blocks * quarter.tiles)
                            simd.store(self.transformed, to * lanes, results[j])

    def _or_zero(self, plane: Expr, y: Expr, x: Expr) -> Expr:
        """The pixel, or zero where it lies outside: the address is moved inside first."""
        simd, window, lanes = self.simd, self.window, self.simd.lanes
        near_y = simd.at_least(simd.at_most(y, window.h - 1), 0)
        near_x = simd.at_least(simd.at_most(x, window.w - 1), 0)
        value = simd.load(self.data, (plane + near_y * window.w + near_x) * lanes)
        there = simd.all(y >= 0, y < window.h, x >= 0, x < window.w)
        return simd.tir.Select(simd.tir.Broadcast(there, lanes), value, simd.number(0.0))

    def factor(self, program: Program) -> Factor:
        return self.factors.load(self.simd, program, self.given)

    def _position(self, tile: Expr) -> list[Expr]:
        """A tile's image, and its row and column there."""
        return self.simd.divide(self.simd.bind(self.first + tile), (self.window.n, *tiles(self.window, self.tiles.m)))

    def _places(self, tile: Expr) -> dict[Quarter, Expr]:
        """The tile's number among those of each quarter. It means nothing in quarters whose values it has not."""
        simd, own = self.simd, self.tiles
        found: dict[Quarter, Expr] = {}
        for quarter in own.quarters:
            place = tile
            if quarter.tiles < own.count:
                image, row, column = simd.divide(tile, (own.images, own.down, own.across))
                place = simd.bind((image * quarter.down + row) * quarter.across + column)
            found[quarter] = place
        return found

    def _here(self, row: Expr, column: Expr, down: Span, across: Span) -> AbstractContextManager[None]:
        """Where these spans have the tile."""
        simd, own = self.simd, self.tiles
        conditions = [(position >= span.first) if span.first else (position < span.count)
                      for position, span, along in [(row, down, own.rows), (column, across, own.columns)]
                      if len(along) > 1]
        return simd.when(simd.all(*conditions)) if conditions else nullcontext()

    def outputs(self, part: Part, offset: int, group: Expr) -> None:
        """One group of output vectors of the strip."""
        size = part.vectors * self.simd.lanes * self.window.ci
        self.multiply(part, self.simd.bind(offset + group * (size * (self.tiles.m + 2) ** 2)), size, 0, self.window.ci,
                      lambda place: self.simd.number(0.0))
        self.transform_output(part, self.simd.bind(part.first + group * part.vectors))

    def multiply(self, part: Part, weights: Expr, stride: int, first: Expr, channels: int,
                 start: Callable[[Expr], Expr]) -> None:
        """`channels` input channels from block `first` on. weights: where they begin, those of each value
        `stride` floats after the last. start: what a sum begins with, by the place where it will be stored."""
        simd, blocks = self.simd, -(-self.window.ci // self.simd.lanes)
        for quarter in self.tiles.quarters:
            sizes = balanced(quarter.tiles, self.rows)
            # a loop that LLVM writes out would load one tile's sums before it has stored another's
            counts = {size: simd.hidden(count) if count > 1 else 1 for size, count in Counter(sizes).items()}
            with simd.loop(len(quarter.rows) * len(quarter.columns)) as number:
                i, j = simd.divide(number, (len(quarter.rows), len(quarter.columns)))
                value = simd.bind((quarter.rows.start + i) * (self.tiles.m + 2) + quarter.columns.start + j)
                before = simd.bind(quarter.first + number * quarter.tiles)
                own = simd.bind(weights + value * stride)
                begin = 0
                for size, count in counts.items():
                    with simd.loop(count) as index:
                        tile = simd.bind(begin + index * size)
                        base = simd.bind((before * blocks + first * quarter.tiles + tile) * simd.lanes)
                        self._product(part, size, before + tile, base, quarter.tiles * simd.lanes, own, channels, start)
                    begin += size * sizes.count(size)

    def _product(self, part: Part, rows: int, tile: Expr, base: Expr, distance: int, weights: Expr, channels: int,
                 start: Callable[[Expr], Expr]) -> None:
        """`rows` tiles of one value from `tile` on. base: of their first block of channels; the next is `distance`
        floats further."""
        simd, lanes, width = self.simd, self.simd.lanes, part.vectors * self.simd.lanes
        whole, rest = divmod(channels, lanes)
        places = [[(tile + r) * width + v * lanes for v in range(part.vectors)] for r in range(rows)]
        sums = [[simd.register(start(place)) for place in row] for row in places]
        for near, depth, count in [(0, lanes, whole), (whole, rest, 1 if rest else 0)]:
            step = _step(simd, depth, part.vectors)
            found = products(NEIGHBOURS, [tuple(range(rows))], step, part.vectors, lanes)
            for turns, begun, units in pieces(count, STRAIGHT_LINE if simd.by_element else 1):
                block = near + begun
                turn = Turn(rows, part.vectors, found, distance, depth * width, lanes, units)
                with simd.loop(depth // step) as piece:
                    multiply(simd, turn, turns, sums, self.transformed,
                             simd.bind(base + block * distance + piece * step), self.weights,
                             simd.bind(weights + (block * lanes + piece * step) * width))
        for row, sums_of in zip(places, sums, strict=True):
            for place, total in zip(row, sums_of, strict=True):
                simd.store(self.products, place, simd.value(total))

    def transform_output(self, part: Part, vector: Expr) -> None:
        simd, own = self.simd, self.tiles
        with simd.loop(own.count) as tile:
            image, row, column = self._position(tile)
            places = self._places(tile)
            first = (image, simd.bind(row * own.m), simd.bind(column * own.m))
            for down, across in product(own.rows, own.columns):
                with self._here(row, column, down, across):
                    self._results(part, vector, down.outputs, across.outputs, places, first)

    def _results(self, part: Part, vector: Expr, rows: int, columns: int, places: Mapping[Quarter, Expr],
                 first: tuple[Expr, Expr, Expr]) -> None:
        """rows x columns of one tile, from image, row and column `first` on."""
        simd, lanes, program = self.simd, self.simd.lanes, output_transform(self.tiles.m, rows)
        image, y, x = first
        factor = self.factor(program)
        for own in dict.fromkeys(quarter.columns for quarter in places):
            if own.start >= columns + 2:
                continue
            lines = {quarter.rows: (quarter, tile) for quarter, tile in places.items() if quarter.columns == own}
            with simd.loop(part.vectors * len(own)) as column:
                v, j = simd.divide(column, (part.vectors, len(own)))
                values = []
                for values_of, (quarter, tile) in lines.items():
                    base = simd.bind(((quarter.first + j * quarter.tiles + tile) * part.vectors + v) * lanes)
                    step = len(own) * quarter.tiles * part.vectors * lanes
                    values += [simd.bind(simd.load(self.products, base + (i - values_of.start) * step))
                               for i in values_of if i < rows + 2]
                for k, value in enumerate(run(simd, program, values, factor)):
                    simd.store(self.half, ((v * rows + k) * (columns + 2) + own.start + j) * lanes, value)
        # unrolled, they would need more registers than there are
        count = simd.hidden(part.vectors * rows)
        program = output_transform(self.tiles.m, columns)
        factor = self.factor(program)
        with simd.loop(count) as row:
            v, k = simd.divide(row, (part.vectors, rows))
            # a strip that was cut has whole tiles alone, which may end outside the image
            outside = len(self.tiles.rows) == 1 and self.window.oh % rows
            with simd.when(y + k < self.window.oh) if outside else nullcontext():
                self._row(program, factor, image, vector + v, row, y + k, x)

    def _row(self, program: Program, factor: Factor, image: Expr, vector: Expr, row: Expr, y: Expr, x: Expr) -> None:
        """The second 1-D transform, epilogue and stores of one row of outputs."""
        simd, window, lanes, columns = self.simd, self.window, self.simd.lanes, len(program.outputs)
        blocks_out = -(-window.co // lanes)
        vector = simd.bind(vector)
        start = self.epilogue.start(simd, self.others, vector)
        values = [simd.bind(simd.load(self.half, (row * (columns + 2) + j) * lanes)) for j in range(columns + 2)]
        place = simd.bind((((image * blocks_out + vector) * window.oh + y) * window.ow + x) * lanes)
        certain = columns - (-window.ow % columns if len(self.tiles.columns) == 1 else 0)
        for column, result in enumerate(run(simd, program, values, factor)):
            with simd.when(x + column < window.ow) if column >= certain else nullcontext():
                self._store(result + start, image, vector, place + column * lanes)

    def _store(self, value: Expr, image: Expr, vector: Expr, place: Expr) -> None:
        simd = self.simd
        simd.store(self.out, place, self.epilogue.apply(simd, simd.bind(value), self.others, vector, image, place))


def _step(simd: Simd, channels: int, vectors: int) -> int:
    """Channels to write out: of a whole block of x86, LLVM would keep what several vectors share on the stack."""
    return channels // 2 if not simd.by_element and vectors > 1 and channels % 16 == 0 else channels
