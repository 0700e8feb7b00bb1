"""What a Strassen kernel is made of: the sums of an image's quarters, and the tiles of its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families.product import Ahead, Part
from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Window

# input channels of a turn
_STEP = 8
# products whose turns fetch the weights of the next group
_FETCHING = 4
# places of what is made of an image's quarters; the last is a copy, of odd images alone
_S1, _S2, _S3, _S4, _A22 = range(5)
# places of a group's weights
_B11, _B21, _T, _B22 = range(4)


@dataclass(frozen=True)
class Half:
    """rows: pixels of the upper half of an image; below: of the lower one. Blocks of channels that come in and go
    out."""

    rows: int
    below: int
    blocks_in: int
    blocks_out: int

    @staticmethod
    def of(window: Window, lanes: int) -> Half:
        pixels = window.h * window.w
        return Half(-(-pixels // 2), pixels // 2, window.ci // lanes // 2, -(-window.co // lanes) // 2)

    @property
    def pixels(self) -> int:
        return self.rows + self.below

    @property
    def made(self) -> int:
        """Vectors of what is made of an image's quarters."""
        return (4 if self.rows == self.below else 5) * self.blocks_in * self.rows


def combine(simd: Simd, half: Half, data: Any, made: Any, image: Expr, block: Expr) -> None:
    """One block of channels of each quarter of an image -> made [sum][block][pixel][lane]."""
    lanes, rows = simd.lanes, half.rows
    left = simd.bind((image * (2 * half.blocks_in) + block) * half.pixels)
    right = simd.bind(left + half.blocks_in * half.pixels)

    def store(place: int, pixel: Expr, value: Expr) -> None:
        simd.store(made, ((place * half.blocks_in + block) * rows + pixel) * lanes, value)

    def pixel(number: Expr, below: bool) -> None:
        a11, a12 = (simd.bind(simd.load(data, (side + number) * lanes)) for side in (left, right))
        a21, a22 = (simd.bind(simd.load(data, (side + rows + number) * lanes)) if below else simd.number(0.0)
                    for side in (left, right))
        s1 = simd.bind(a21 + a22)
        s2 = simd.bind(s1 - a11)
        for place, value in ((_S1, s1), (_S2, s2), (_S3, a11 - a21), (_S4, a12 - s2)):
            store(place, number, value)
        if half.rows != half.below:
            store(_A22, number, a22)

    with simd.loop(half.below) as number:
        pixel(number, True)
    if half.rows != half.below:
        pixel(half.below, False)


def ahead(half: Half, part: Part, line: int, tiles: int, lanes: int) -> Ahead:
    """tiles: of a group of outputs, which fetch the next group's weights, in the turns of some of their products."""
    group, turns = _quarter(half, part, lanes) * 4, _FETCHING * half.blocks_in
    return Ahead(-(-group // (line * tiles * turns)), line, turns, group)


def _quarter(half: Half, part: Part, lanes: int) -> int:
    """Floats of one quarter of the weights of a group."""
    return half.blocks_in * lanes * part.vectors * lanes


@dataclass
class Tile:
    """Tile `number` of the rows of each half, for one group of output vectors of each half. origin: of its weights."""

    simd: Simd
    half: Half
    part: Part
    data: Any
    made: Any
    weights: Any
    epilogue: Epilogue
    others: Sequence[Any]
    out: Any
    image: Expr
    group: Expr
    origin: Expr
    number: Expr
    ahead: Ahead

    def __post_init__(self) -> None:
        # LLVM would keep sums that it knows to be set aside in registers that there are not
        self.somewhere = self.simd.secret(0, everywhere=True)

    def write(self, first: Expr, rows: int, below: int) -> None:
        """rows: of the upper half, from number `first` on, and `below` of the lower one."""
        simd, part = self.simd, self.part
        sums = [[simd.register(simd.number(0.0)) for _ in range(part.vectors)] for _ in range(rows)]
        m, u1, u2, u3 = (simd.scratch(name, rows * part.vectors * simd.lanes) for name in ("m", "u1", "u2", "u3"))
        planes = self.half.blocks_in * self.half.pixels
        left = simd.bind(self.image * (2 * planes) + first)
        right = simd.bind(left + planes)
        a11, a12 = (self.data, left, self.half.pixels), (self.data, right, self.half.pixels)
        a22 = ((self.data, right + self.half.rows, self.half.pixels) if self.half.rows == self.half.below
               else self._made(_A22, first))

        self._multiply(sums, self._made(_S1, first), _B22, _T, 0)
        self._keep(sums, m)
        self._zero(sums)
        self._multiply(sums, a11, _B11, None, 1)
        self._keep(sums, u1)
        self._multiply(sums, self._made(_S2, first), _T, None, 2)
        self._keep(sums, u2)
        self._add(sums, m)
        self._multiply(sums, self._made(_S4, first), _B22, None, 3)
        self._store(sums, first, False, True, rows)
        self._take(sums, u2)
        self._multiply(sums, self._made(_S3, first), _T, _B11)
        self._keep(sums, u3)
        self._add(sums, m)
        self._store(sums, first, True, True, below)
        self._take(sums, u3)
        self._multiply(sums, a22, _B21, _T)
        self._store(sums, first, True, False, below)
        self._take(sums, u1)
        self._multiply(sums, a12, _B21, None)
        self._store(sums, first, False, False, rows)

    def _made(self, place: int, first: Expr) -> tuple[Any, Expr, int]:
        start = place * self.half.blocks_in * self.half.rows
        return self.made, self.simd.bind(start + first), self.half.rows

    def _multiply(self, sums: Sequence[Sequence[Any]], left: tuple[Any, Expr, int], plus: int, minus: int | None,
                  fetching: int | None = None) -> None:
        """sums += left * (weights `plus` - weights `minus`). left: buffer, first pixel, pixels of a plane. fetching:
        number of this product among those that fetch weights."""
        simd, lanes, vectors = self.simd, self.simd.lanes, self.part.vectors
        data, first, plane = left
        width, quarter = vectors * lanes, _quarter(self.half, self.part, lanes)
        places = [simd.bind(self.origin + place * quarter) for place in (plus, minus) if place is not None]
        with simd.loop(self.half.blocks_in) as block:
            if fetching is not None:
                self.ahead.fetch(simd, self.weights, self.origin, self.number, fetching * self.half.blocks_in + block)
            step = min(_STEP, lanes)
            with simd.loop(lanes // step) as chunk:
                base = simd.bind((block * plane + first) * lanes + chunk * step)
                before = simd.bind((block * lanes + chunk * step) * width)
                for k in range(step):
                    row = [simd.bind(self._weight(places, before + (k * width + v * lanes)), "w")
                           for v in range(vectors)]
                    for r, own in enumerate(sums):
                        element = simd.bind(simd.spread(data, base + (r * lanes + k)), "a")
                        for v, weight in enumerate(row):
                            simd.assign(own[v], simd.value(own[v]) + element * weight)

    def _weight(self, places: Sequence[Expr], offset: Expr) -> Expr:
        loaded = [self.simd.load(self.weights, place + offset) for place in places]
        return loaded[0] - loaded[1] if len(loaded) > 1 else loaded[0]

    def _store(self, sums: Sequence[Sequence[Any]], first: Expr, below: bool, right: bool, rows: int) -> None:
        """The results of one quarter."""
        simd, half, part = self.simd, self.half, self.part
        for v in range(part.vectors):
            vector = simd.bind(part.first + self.group * part.vectors + (v + half.blocks_out * right))
            start = self.epilogue.start(simd, self.others, vector)
            scale = simd.bind(simd.load(self.weights, self._scales + vector * simd.lanes))
            line = simd.bind(((self.image * (2 * half.blocks_out) + vector) * half.pixels + half.rows * below + first)
                             * simd.lanes)
            for r in range(rows):
                place = line + r * simd.lanes
                value = simd.bind(simd.value(sums[r][v]) * scale + start)
                simd.store(self.out, place, self.epilogue.apply(simd, value, self.others, vector, self.image, place))

    @property
    def _scales(self) -> int:
        """Where they lie behind the weights."""
        half, lanes = self.half, self.simd.lanes
        return 2 * half.blocks_out * lanes * 2 * half.blocks_in * lanes

    def _zero(self, sums: Sequence[Sequence[Any]]) -> None:
        for register in (r for own in sums for r in own):
            self.simd.assign(register, self.simd.number(0.0))

    def _keep(self, sums: Sequence[Sequence[Any]], aside: Any) -> None:
        for i, register in enumerate(r for own in sums for r in own):
            self.simd.store(aside, i * self.simd.lanes, self.simd.value(register))

    def _take(self, sums: Sequence[Sequence[Any]], aside: Any) -> None:
        place = self.somewhere()
        for i, register in enumerate(r for own in sums for r in own):
            self.simd.assign(register, self.simd.load(aside, place + i * self.simd.lanes))

    def _add(self, sums: Sequence[Sequence[Any]], aside: Any) -> None:
        place = self.somewhere()
        for i, register in enumerate(r for own in sums for r in own):
            self.simd.assign(register, self.simd.value(register) + self.simd.load(aside, place + i * self.simd.lanes))
