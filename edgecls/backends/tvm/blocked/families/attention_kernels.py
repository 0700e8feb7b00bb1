"""The kernels of attention: keys transposed, then tiles of queries through scores, softmax and weighted sum."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from edgecls.backends.tvm.blocked.families.product import STRAIGHT_LINE, pieces
from edgecls.backends.tvm.blocked.lanes import across, only_first, transposed
from edgecls.backends.tvm.blocked.multiply import multiply
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.turn import NEIGHBOURS, Turn, products
from edgecls.backends.tvm.blocked.window import balanced

# most products written out one after the other
_UNROLLED = 256
# vectors per step of the softmax: independent chains of a maximum, an exponential, a sum
_CHAINS = 4
# floats that TVM gives memory of their own. Less is on the stack: LLVM knows that no assembly writes there, and reads
# before a loop, into registers that are not free, what it needs in it
_STACK = 256


@dataclass(frozen=True)
class Place:
    """Where heads lie: first vector of channels and how many to the next head; blocks of channels and pixels of an
    image; whether token t of group g is pixel g * tokens + t, or what a table says."""

    first: int
    step: int
    blocks: int
    pixels: int
    tokens: int
    in_order: bool

    def size(self, images: int, lanes: int) -> int:
        return images * self.blocks * self.pixels * lanes


@dataclass(frozen=True)
class Shape:
    """Of one attention. size: channels of a query and a key; depth: of a value. biases: (groups, heads) of each."""

    images: int
    groups: int
    heads: int
    rows: int
    columns: int
    size: int
    depth: int
    biases: tuple[tuple[int, int], ...]
    gated: bool
    normalised: bool


@dataclass(frozen=True)
class Tiles:
    """queries: of one task. score and weigh: the register tiles of both products, queries x vectors. whole: scores of
    all keys are in the first, and stay in registers until they are weights. copied: the values are brought in order
    before anything is computed."""

    queries: int
    score: tuple[int, int]
    weigh: tuple[int, int]
    whole: bool = False
    copied: bool = False


def emit_keys(simd: Simd, shape: Shape, place: Place, scale: float) -> Any:
    """Parameters: image, table if not in order, output."""
    lanes, vectors, size = simd.lanes, -(-shape.columns // simd.lanes), shape.size
    tokens = _Tokens(simd, "data", place, shape)
    out = simd.parameter("out", shape.images * shape.groups * shape.heads * vectors * size * lanes)
    for count, start, filled in pieces(shape.columns, lanes):
        with simd.loop(shape.images * shape.groups * shape.heads * count, parallel=True) as task:
            image, group, head, vector = simd.divide(task, (shape.images, shape.groups, shape.heads, count))
            unit = simd.bind((image * shape.groups + group) * shape.heads + head)
            base = simd.bind((unit * vectors + start // lanes + vector) * (size * lanes))
            for together, first, width in pieces(size, lanes):
                with simd.loop(together, rolled=True) as step:
                    block = simd.bind(first // lanes + step)
                    rows = [simd.load(tokens.buffer, tokens.at(image, group, head, block, start + vector * lanes + t))
                            if t < filled else simd.number(0.0) for t in range(lanes)]
                    turned = transposed(simd, [simd.bind(r) for r in rows])
                    for k in range(width):
                        simd.store(out, base + (block * lanes + k) * lanes, turned[k] * simd.number(scale))
    return simd.function([*tokens.parameters, out])


def emit(simd: Simd, shape: Shape, tiles: Tiles, query: Place, value: Place, result: Place) -> Any:
    """Parameters: queries, keys, values, biases, gate's factor and summand, output; an image that is not in order is
    followed by its table, the output by none: it has that of the queries."""
    sizes, start = balanced(shape.rows, tiles.queries), 0
    vectors = -(-shape.columns // simd.lanes)
    queries, values = _Tokens(simd, "queries", query, shape), _Tokens(simd, "values", value, shape)
    keys = simd.parameter("keys", shape.images * shape.groups * shape.heads * vectors * shape.size * simd.lanes)
    line = shape.rows * vectors * simd.lanes
    biases = [simd.parameter(f"bias{i}", groups * heads * line) for i, (groups, heads) in enumerate(shape.biases)]
    gate = [simd.parameter("factor", shape.heads), simd.parameter("summand", shape.heads * line)] if shape.gated else []
    out = simd.parameter("out", result.size(shape.images, simd.lanes))
    for size in sorted(set(sizes), reverse=True):
        count = sizes.count(size)
        with simd.loop(shape.images * shape.groups * shape.heads * count, parallel=True) as task:
            image, group, head, step = simd.divide(task, (shape.images, shape.groups, shape.heads, count))
            _Task(simd, shape, size, tiles, queries, keys, values, biases, gate, image, group, head,
                  simd.bind(start + step * size)).run(out, result)
        start += size * count
    return simd.function([*queries.parameters, keys, *values.parameters, *biases, *gate, out])


@dataclass(frozen=True)
class _Rows:
    """Vectors of a second factor: row k of vector v is k vectors behind `start` + v * `between`, in floats."""

    simd: Simd
    buffer: Any
    start: Expr
    between: int

    def __call__(self, k: Expr, v: int) -> Expr:
        return self.simd.load(self.buffer, self.start + (v * self.between + k * self.simd.lanes))


class _Tokens:
    """An image and the places of tokens in it."""

    def __init__(self, simd: Simd, name: str, place: Place, shape: Shape) -> None:
        self.simd, self.place, groups = simd, place, shape.groups
        self.buffer = simd.parameter(name, place.size(shape.images, simd.lanes))
        self.table = None if place.in_order else simd.parameter(f"{name}_table", groups * place.tokens, "int32")

    @property
    def parameters(self) -> list[Any]:
        return [self.buffer] if self.table is None else [self.buffer, self.table]

    def at(self, image: Expr, group: Expr, head: Expr, block: Expr, token: Expr, place: Place | None = None) -> Expr:
        """In floats: one vector of one token. place: of another image with the same tokens."""
        place = place or self.place
        number = group * place.tokens + token
        pixel = number if self.table is None else self.simd.integer(self.table, number)
        plane = image * place.blocks + place.first + head * place.step + block
        return self.simd.bind((plane * place.pixels + pixel) * self.simd.lanes)


@dataclass
class _Task:
    """`size` queries of one head from `row` on. Queries and scores are kept as [vector][query][lane]: the elements that
    one step of a product takes lie together."""

    simd: Simd
    shape: Shape
    size: int
    tiles: Tiles
    queries: _Tokens
    keys: Any
    values: _Tokens
    biases: Sequence[Any]
    gate: Sequence[Any]
    image: Expr
    group: Expr
    head: Expr
    row: Expr

    def __post_init__(self) -> None:
        simd, shape = self.simd, self.shape
        self.columns = -(-shape.columns // simd.lanes)
        self.channels = -(-shape.size // simd.lanes)
        self.query = self._scratch("query", self.size * self.channels)
        self.scores = self._scratch("scores", self.size * self.columns)
        self.inverse = self._scratch("inverse", self.size)
        self.depth = -(-shape.depth // simd.lanes)
        self.value = self._scratch("value", shape.columns * self.depth) if self.tiles.copied else None

    def run(self, out: Any, result: Place) -> None:
        simd, tiles = self.simd, self.tiles
        self._copy(self.queries, self.row, self.query, self.size, self.channels)
        if self.value is not None:
            self._copy(self.values, 0, self.value, self.shape.columns, self.depth)
        for first, rows in self._parts(tiles.score[0]):
            if tiles.whole:
                self.score_and_weights(first, rows)
                continue
            for count, start, vectors in pieces(self.columns, tiles.score[1]):
                with simd.loop(count, rolled=True) as step:
                    self.score(first, rows, simd.bind(start + step * vectors), vectors)
        if not tiles.whole:
            with simd.loop(self.size) as r, simd.constants():
                self.softmax(r)
        for first, rows in self._parts(tiles.weigh[0]):
            for count, start, vectors in pieces(self.depth, tiles.weigh[1]):
                with simd.loop(count, rolled=True) as step:
                    self.weigh(out, result, first, rows, simd.bind(start + step * vectors), vectors)

    def _parts(self, most: int) -> Iterator[tuple[Expr, int]]:
        """First and number of the queries in each tile."""
        sizes, start = balanced(self.size, most), 0
        for size in dict.fromkeys(sizes):
            with self.simd.loop(sizes.count(size)) as step:
                yield self.simd.bind(start + step * size), size
            start += size * sizes.count(size)

    def _copy(self, source: _Tokens, first: Expr, to: Any, tokens: int, blocks: int) -> None:
        """[vector][token][lane] of tokens from number `first` on."""
        simd = self.simd
        with simd.loop(tokens) as t, simd.loop(blocks) as block:
            at = source.at(self.image, self.group, self.head, block, first + t)
            simd.store(to, (block * tokens + t) * simd.lanes, simd.load(source.buffer, at))

    def score(self, first: Expr, rows: int, column: Expr, vectors: int) -> None:
        """`rows` queries from number `first` on, and `vectors` vectors of keys from number `column` on."""
        for r, values in enumerate(self._scores(first, rows, column, vectors)):
            for v, value in enumerate(values):
                self.simd.store(self.scores, self._own(column + v, first + r), value)

    def _scores(self, first: Expr, rows: int, column: Expr, vectors: int) -> list[list[Expr]]:
        simd, shape = self.simd, self.shape
        unit = (self.image * shape.groups + self.group) * shape.heads + self.head
        base = simd.bind((unit * self.columns + column) * (shape.size * simd.lanes))
        sums = self._zeros(rows, vectors)
        self._multiply(sums, self.query, first, shape.size, _Rows(simd, self.keys, base, shape.size * simd.lanes))
        found = [[simd.value(s) for s in own] for own in sums]
        for bias, (groups, heads) in zip(self.biases, shape.biases, strict=True):
            number = self._number(groups, heads)
            for r, own in enumerate(found):
                for v in range(vectors):
                    own[v] = own[v] + simd.load(bias, self._weight(number, self.row + first + r, column + v))
        return found

    def score_and_weights(self, first: Expr, rows: int) -> None:
        """All scores of these queries become weights without leaving the registers. Each step is done for all of them
        before the next: one query alone is a single chain of dependent instructions."""
        simd, rest = self.simd, self.shape.columns % self.simd.lanes
        scores = [[simd.bind(s) for s in own] for own in self._scores(first, rows, 0, self.columns)]
        if rest:
            for own in scores:
                own[-1] = simd.bind(only_first(simd, own[-1], rest, float("-inf")))
        largest = [across(simd, reduce(simd.tir.Max, own), simd.tir.Max) for own in scores]
        totals = []
        for r, own in enumerate(scores):
            for v, value in enumerate(own):
                own[v] = simd.bind(simd.value(simd.register(simd.exp2_down(value - largest[r]))))
                simd.store(self.scores, self._own(v, first + r), own[v])
            totals.append(simd.bind(reduce(operator.add, own)))
        totals = [across(simd, t, operator.add) for t in totals]
        for r, total in enumerate(totals):
            self._finish(first + r, simd.bind(simd.number(1.0) / total))

    def softmax(self, r: Expr) -> None:
        """Scores of one query -> weights, in place, and what to multiply their sum of values by."""
        simd, rest = self.simd, self.shape.columns % self.simd.lanes
        if rest:
            last = simd.bind(self._own(self.columns - 1, r))
            value = simd.bind(simd.load(self.scores, last))
            simd.store(self.scores, last, only_first(simd, value, rest, float("-inf")))
        largest = self._reduce(simd.number(float("-inf")), simd.tir.Max,
                               lambda i: simd.load(self.scores, self._own(i, r)))

        def weight(i: Expr) -> Expr:
            at = simd.bind(self._own(i, r))
            value = simd.bind(simd.value(simd.register(simd.exp2_down(simd.load(self.scores, at) - largest))))
            simd.store(self.scores, at, value)
            self._fetch_next(r, i)
            return value

        self._finish(r, simd.bind(simd.number(1.0) / self._reduce(simd.number(0.0), operator.add, weight)))

    def _fetch_next(self, r: Expr, column: Expr) -> None:
        """On x86 the biases of the next task, which lie behind those of this one: there are as many as scores, and they
        come from memory."""
        if self.simd.by_element:
            return
        added = [(bias, self._number(*shape)) for bias, shape in zip(self.biases, self.shape.biases, strict=True)]
        for buffer, number in [*added, *((summand, self.head) for summand in self.gate[1:])]:
            self.simd.fetch(buffer, self._weight(number, self.row + self.size + r, column))

    def _finish(self, r: Expr, inverse: Expr) -> None:
        """inverse: of the sum of the weights."""
        if self.gate:
            inverse = self._mix(r, inverse)
        self.simd.store(self.inverse, r * self.simd.lanes, inverse)

    def _mix(self, r: Expr, inverse: Expr) -> Expr:
        simd, (factor, summand) = self.simd, self.gate
        share = simd.bind(inverse * simd.tir.Broadcast(factor[self.head], simd.lanes))

        def mixed(i: Expr) -> Expr:
            at = simd.bind(self._own(i, r))
            value = simd.bind(simd.load(self.scores, at) * share
                              + simd.load(summand, self._weight(self.head, self.row + r, i)))
            simd.store(self.scores, at, value)
            return value

        total = self._reduce(simd.number(0.0), operator.add, mixed)
        return simd.bind(simd.number(1.0) / total) if self.shape.normalised else simd.number(1.0)

    def weigh(self, out: Any, result: Place, first: Expr, rows: int, block: Expr, vectors: int) -> None:
        """Of `rows` queries from number `first` on, `vectors` vectors of the result from number `block` on."""
        simd, values = self.simd, self.values
        sums = self._zeros(rows, vectors)

        def value(j: Expr, v: int) -> Expr:
            return simd.load(values.buffer, values.at(self.image, self.group, self.head, block + v, j))

        right: Callable[[Expr, int], Expr] | _Rows = value
        if self.value is not None:
            line = self.shape.columns * simd.lanes
            right = _Rows(simd, self.value, simd.bind(block * line), line)
        elif values.table is None:
            start = values.at(self.image, self.group, self.head, block, 0)
            right = _Rows(simd, values.buffer, start, values.place.pixels * simd.lanes)
        self._multiply(sums, self.scores, first, self.shape.columns, right)
        for r in range(rows):
            inverse = simd.bind(simd.load(self.inverse, (first + r) * simd.lanes))
            for v in range(vectors):
                at = self.queries.at(self.image, self.group, self.head, block + v, self.row + first + r, result)
                simd.store(out, at, simd.value(sums[r][v]) * inverse)

    # ---- parts

    def _scratch(self, name: str, vectors: int) -> Any:
        size = vectors * self.simd.lanes
        return self.simd.scratch(name, max(size, _STACK) if self.simd.assembly else size)

    def _number(self, groups: int, heads: int) -> Expr:
        """Of this task's bias among those of all groups and heads, or of one that serves them all."""
        return (self.group if groups > 1 else 0) * heads + (self.head if heads > 1 else 0)

    def _weight(self, number: Expr, row: Expr, column: Expr) -> Expr:
        """Where vector `column` of a row of biases is."""
        return ((number * self.shape.rows + row) * self.columns + column) * self.simd.lanes

    def _own(self, vector: Expr, r: Expr) -> Expr:
        """Where one vector of query r is, in floats."""
        return (vector * self.size + r) * self.simd.lanes

    def _zeros(self, rows: int, vectors: int) -> list[list[Any]]:
        return [[self.simd.register(self.simd.number(0.0)) for _ in range(vectors)] for _ in range(rows)]

    def _multiply(self, sums: list[list[Any]], left: Any, query: Expr, count: int,
                  right: Callable[[Expr, int], Expr] | _Rows) -> None:
        """sums[r][v] += element k of query `query` + r in `left` * right(k, v), for k in range(count)."""
        simd, lanes = self.simd, self.simd.lanes
        if simd.assembly and isinstance(right, _Rows):
            whole, rest = divmod(count, lanes)
            together = STRAIGHT_LINE if simd.by_element else 1
            for blocks, start, size in [*pieces(whole, together), *([(1, whole, 0)] if rest else [])]:
                found = products(NEIGHBOURS, [tuple(range(len(sums)))], lanes if size else rest, 1, lanes)
                turn = Turn(len(sums), len(sums[0]), found, self.size * lanes, lanes * lanes, right.between, size or 1)
                multiply(simd, turn, blocks, sums, left, simd.bind(self._own(start, query)), right.buffer,
                         simd.bind(right.start + start * lanes * lanes))
            return
        together = lanes
        while together > 4 and together * len(sums) * len(sums[0]) > _UNROLLED:
            together //= 2
        for blocks, start, width in pieces(count, lanes):
            for steps, first, size in pieces(width, together):
                with simd.loop(blocks) as block, simd.loop(steps) as step:
                    within = first + step * together
                    base = simd.bind(self._own(start // lanes + block, query) + within)
                    column = simd.bind(start + block * lanes + within)
                    places = [r * lanes + k for k in range(size) for r in range(len(sums))]
                    spread = iter(simd.elements(left, base, places))
                    for k in range(size):
                        row = [simd.bind(right(column + k, v), "w") for v in range(len(sums[0]))]
                        for own in sums:
                            element = next(spread)
                            element = element if simd.by_element else simd.bind(element, "a")
                            for v, factor in enumerate(row):
                                simd.assign(own[v], simd.value(own[v]) + element * factor)

    def _reduce(self, start: Expr, combine: Callable[[Expr, Expr], Expr], term: Callable[[Expr], Expr]) -> Expr:
        """Over all vectors of a row, in all lanes."""
        simd = self.simd
        chains = min(_CHAINS, self.columns)
        parts = [simd.register(start) for _ in range(chains)]
        for steps, first, size in pieces(self.columns, chains):
            with simd.loop(steps, rolled=True) as step:
                for i in range(size):
                    value = term(simd.bind(first + step * chains + i))
                    simd.assign(parts[i], combine(simd.value(parts[i]), value))
        whole = simd.value(parts[0])
        for part in parts[1:]:
            whole = combine(whole, simd.value(part))
        return across(simd, whole, combine)
