"""AArch64 turns, executed instruction by instruction on numpy: right sums, and no byte read that no product names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecls.backends.tvm.blocked import neon
from edgecls.backends.tvm.blocked.turn import Columns, Turn, products
from edgecls.types import Array

# of floats, far enough from the ends of memory that a wrong address is still inside
_DATA, _WEIGHTS, _SIZE = 40_000, 120_000, 200_000


@dataclass
class Machine:
    """What the instructions of a turn need of a core. Memory is floats, pointers are bytes; NaN is never to be read."""

    memory: Array
    sums: Array  # (rows * vectors, 4)
    pointers: dict[str, int]
    vectors: dict[str, Array] = field(default_factory=dict)
    executed: int = 0

    def run(self, text: str) -> None:
        lines = text.split(r"\0A")
        labels = {line[0]: i for i, line in enumerate(lines) if re.fullmatch(r"\d:", line)}
        place = 0
        while place < len(lines):
            line = lines[place]
            place += 1
            if re.fullmatch(r"\d:", line):
                continue
            self.executed += 1
            name, *operands = re.split(r"[ ,\[\]]+", re.sub(r"[{}]|:w", "", line).strip("]"))
            if name == "cbz" and not self.pointers[operands[0]]:
                place = labels[operands[1][0]]
            elif name == "b.ne" and self.pointers["flags"]:
                place = labels[operands[0][0]]
            elif name not in ("cbz", "b.ne"):
                self.steps[name](self, [o for o in operands if o])

    def load(self, operands: list[str], registers: int, moves: bool) -> None:
        names, (pointer, *more) = operands[:registers], operands[registers:]
        offset = self.number(more[0]) if more else 0
        address = self.pointers[pointer] + (0 if moves else offset)
        assert address % 4 == 0
        for number, register in enumerate(names):
            vector = self.memory[address // 4 + 4 * number:address // 4 + 4 * number + 4]
            assert not np.isnan(vector).any(), f"{operands} reads what no product names"
            self.vectors[register.removesuffix(".4s").replace("q", "v")] = vector
        if moves:
            self.pointers[pointer] += offset

    def several(self, operands: list[str]) -> None:
        count = sum(o.endswith(".4s") for o in operands)
        numbers = [int(o[1:-3]) for o in operands[:count]]
        assert numbers == list(range(numbers[0], numbers[0] + count))
        assert 1 <= count <= 4
        self.load(operands, count, moves=True)

    def fmla(self, operands: list[str]) -> None:
        match = re.fullmatch(r"(v\d+)\.s(\d)", "".join(operands[2:]))
        assert match
        self.sums[int(operands[0][1:-3])] += self.vectors[operands[1][:-3]] * self.vectors[match[1]][int(match[2])]

    def add(self, operands: list[str], sign: int) -> None:
        shift = 12 if len(operands) > 3 else 0
        self.pointers[operands[0]] = self.pointers[operands[1]] + sign * (self.number(operands[2]) << shift)
        self.pointers["flags"] = self.pointers[operands[0]]

    def number(self, word: str) -> int:
        return int(word[1:]) if word.startswith("#") else self.pointers[word]

    steps: dict[str, Callable[[Machine, list[str]], None]] = field(default_factory=lambda: {
        "ld1": lambda m, o: m.several(o), "ldr": lambda m, o: m.load(o, 1, moves=False),
        "ldur": lambda m, o: m.load(o, 1, moves=False), "ldp": lambda m, o: m.load(o, 2, moves=False),
        "fmla": lambda m, o: m.fmla(o), "add": lambda m, o: m.add(o, 1), "sub": lambda m, o: m.add(o, -1),
        "subs": lambda m, o: m.add(o, -1)})


@st.composite
def turns(draw: st.DrawFn) -> Turn:
    """Of tiles that fit the registers."""
    vectors = draw(st.integers(1, 5))
    rows = draw(st.integers(1, 29 // (vectors + 1)))
    planar = draw(st.booleans())
    columns = Columns(draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3)), planar)
    reached = [tuple(r for r in range(rows) if draw(st.integers(0, 4))) for _ in range(columns.count)]
    pixels = [r * columns.stride + c * columns.dilation for c, rs in enumerate(reached) for r in rs]
    if not pixels or (planar and max(pixels) - min(pixels) < 3):
        reached = [tuple(range(rows))] * max(4, columns.count)
        columns = Columns(max(4, columns.count), columns.stride, columns.dilation, planar)
    channels = 1 if planar else draw(st.integers(1, 4))
    found = products(columns, reached, channels, vectors, 4)
    weights = columns.count * channels * vectors * 4
    between = 4
    if draw(st.booleans()):
        # each vector's weights lie together
        found = products(columns, reached, channels, 1, 4)
        between = draw(st.integers(columns.count * channels, 2000)) * 4
    return Turn(rows, vectors, found, draw(st.integers(1, 2000)), weights, between, draw(st.integers(1, 4)))


def expected(turn: Turn, count: int, memory: Array, sums: Array) -> Array:
    result = sums.astype(np.float64)
    for unit in range(count * turn.units):
        data, weights = _DATA + unit * turn.distance, _WEIGHTS + unit * turn.weights
        for product in turn.products:
            for row, place, lane in product.terms:
                for v in range(turn.vectors):
                    at = weights + product.weights + turn.between * v
                    result[row * turn.vectors + v] += memory[data + place + lane] * memory[at:at + 4].astype(np.float64)
    return result


def named(turn: Turn, count: int) -> Array:
    """Which floats the products of a run name, whole vectors of them."""
    inside = np.zeros(_SIZE, bool)
    for unit in range(count * turn.units):
        for product in turn.products:
            for place in product.places:
                at = _DATA + unit * turn.distance + place
                inside[at:at + 4] = True
            for v in range(turn.vectors):
                at = _WEIGHTS + unit * turn.weights + product.weights + turn.between * v
                inside[at:at + 4] = True
    return inside


def executed(turn: Turn, count: int, looped: bool, seed: int) -> tuple[Machine, Array, Array]:
    generator = np.random.default_rng(seed)
    memory = generator.standard_normal(_SIZE).astype(np.float32)
    memory[~named(turn, count)] = np.nan
    sums = generator.standard_normal((turn.sums, 4)).astype(np.float32)
    _, text = neon.function(turn, looped)
    code = re.search(r'asm sideeffect "([^"]*)"', text)
    step = re.search(r"i64 (-?\d+)\)$", text, re.MULTILINE)
    assert code
    assert step
    n, moving = turn.sums, 3 if looped else 2
    pointers = {f"${n}": 4 * (_DATA + turn.first), f"${n + 1}": 4 * _WEIGHTS, f"${2 * (n + moving)}": int(step[1])}
    machine = Machine(memory, sums.copy(), pointers | ({f"${n + 2}": count} if looped else {}))
    machine.run(code[1])
    return machine, memory, expected(turn, count, memory, sums)


@given(turn=turns(), count=st.integers(0, 3), seed=st.integers(0, 2**16))
def test_turns_add_what_they_say_and_read_nothing_else(turn: Turn, count: int, seed: int) -> None:
    machine, _, sums = executed(turn, count, looped=True, seed=seed)
    np.testing.assert_allclose(machine.sums, sums, rtol=1e-4, atol=1e-3)


@given(turn=turns())
def test_one_turn_needs_no_counter(turn: Turn) -> None:
    machine, _, sums = executed(turn, 1, looped=False, seed=0)
    np.testing.assert_allclose(machine.sums, sums, rtol=1e-4, atol=1e-3)
    assert machine.executed == neon.instructions(turn)


@pytest.mark.parametrize(("vectors", "rows", "columns", "most"), [
    # instructions that are no multiply-add, with the most neighbours per load
    (3, 7, Columns(), 2 + 3), (3, 7, Columns(3), 2 + 1 + 1 + 9), (2, 7, Columns(3, stride=2), 4 + 1 + 6 + 1),
])
def test_neighbours_are_loaded_together(vectors: int, rows: int, columns: Columns, most: int) -> None:
    found = products(columns, [tuple(range(rows))] * columns.count, 4, vectors, 4)
    turn = Turn(rows, vectors, found, 1000, columns.count * 4 * vectors * 4, 4)
    assert neon.instructions(turn) - 4 * rows * vectors * columns.count <= most
