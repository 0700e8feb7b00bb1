"""x86 turns, executed instruction by instruction on numpy: right sums, and no float read that no product names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecls.backends.tvm.blocked import avx
from edgecls.backends.tvm.blocked.multiply import assembly_of
from edgecls.backends.tvm.blocked.turn import Product, Turn
from edgecls.targets import load_target
from edgecls.types import Array

# of floats, far enough from the ends of memory that a wrong address is still inside
_DATA, _WEIGHTS, _SIZE = 40_000, 120_000, 200_000
# what is fetched, in bytes: it may lie outside
_AHEAD = 10**9


@dataclass
class Machine:
    """What the instructions of a turn need of a core. Memory is floats, pointers are bytes; NaN is never to be read."""

    memory: Array
    sums: list[Array]
    pointers: dict[str, int]
    registers: dict[int, Array] = field(default_factory=dict)
    fetched: list[int] = field(default_factory=list)
    left: int = 0

    def run(self, text: str) -> None:
        lines = text.split(r"\0A")
        labels = {line[0]: i for i, line in enumerate(lines) if re.fullmatch(r"\d:", line)}
        place = 0
        while place < len(lines):
            name, *operands = re.split(r",? +", lines[place])
            place += 1
            if re.fullmatch(r"\d:|\.p2align", name):
                continue
            if name in ("jle", "jne"):
                place = labels[operands[0][0]] if (self.left <= 0 if name == "jle" else self.left) else place
            else:
                self.steps[name](self, operands)

    def read(self, operand: str, count: int) -> Array:
        """A register's first floats, or those of memory."""
        if register := re.fullmatch(r"%([xyz])mm(\d+)", operand):
            assert "xyz".index(register[1]) == {4: 0, 8: 1, 16: 2}[count]
            return self.registers[int(register[2])][:count]
        match = re.fullmatch(r"(-?\d+)\((\$\d+)\)(\{1to(\d+)\})?", operand)
        assert match
        address = self.pointers[match[2]] + int(match[1])
        assert address % 4 == 0
        wanted = 1 if match[3] else count
        assert not match[3] or int(match[4]) == count
        values = self.memory[address // 4:address // 4 + wanted]
        assert not np.isnan(values).any(), f"{operand} reads what no product names"
        return values

    def multiply(self, operands: list[str]) -> None:
        total = self.sums[int(operands[2][1:])]
        total += self.read(operands[0], total.size) * self.read(operands[1], total.size)

    def load(self, operands: list[str], spread: bool) -> None:
        count = {"x": 4, "y": 8, "z": 16}[operands[1][1]]
        values = self.read(operands[0], 1 if spread else count)
        self.registers[int(operands[1][4:])] = np.repeat(values, count) if spread else values

    def move(self, operands: list[str]) -> None:
        self.pointers[operands[1]] += int(operands[0].removeprefix("$$"))

    def count(self, operand: str, change: int) -> None:
        self.pointers[operand] += change
        self.left = self.pointers[operand]

    def fetch(self, operand: str) -> None:
        distance, pointer = operand.rstrip(")").split("(")
        self.fetched.append(self.pointers[pointer] + int(distance))

    steps: dict[str, Callable[[Machine, list[str]], None]] = field(default_factory=lambda: {
        "vmovups": lambda m, o: m.load(o, spread=False), "vbroadcastss": lambda m, o: m.load(o, spread=True),
        "vfmadd231ps": lambda m, o: m.multiply(o), "addq": lambda m, o: m.move(o),
        "prefetcht1": lambda m, o: m.fetch(o[0]),
        "testl": lambda m, o: m.count(o[0], 0), "decl": lambda m, o: m.count(o[0], -1)})


@st.composite
def turns(draw: st.DrawFn, lanes: int) -> Turn:
    """Of tiles that fit the registers: with an element and a vector of weights, all but two are sums."""
    most = (32 if lanes == 16 else 16) - 2
    vectors = draw(st.integers(1, most))
    rows = draw(st.integers(1, most // vectors))
    between = draw(st.one_of(st.just(lanes), st.integers(lanes, 1000)))
    found = tuple(
        Product(k * vectors * lanes, tuple((r, draw(st.integers(-50, 3000)), draw(st.integers(0, lanes - 1)))
                                           for r in draw(st.permutations(range(rows)))[:draw(st.integers(1, rows))]))
        for k in range(draw(st.integers(1, 4))))
    return Turn(rows, vectors, found, draw(st.integers(-50, 2000)), draw(st.integers(0, 2000)), between,
                draw(st.integers(1, 3)), half=draw(st.booleans()), alone=draw(st.booleans()),
                fetched=draw(st.sampled_from([0, 0, 1, 7])))


def check(turn: Turn, count: int, looped: bool, lanes: int, seed: int) -> None:
    """Beside sums in double precision, in memory whose other floats are NaN."""
    generator = np.random.default_rng(seed)
    given, memory = generator.standard_normal(_SIZE).astype(np.float32), np.full(_SIZE, np.nan, np.float32)
    widths = [lanes // 2 if turn.half and v == turn.vectors - 1 else lanes for v in range(turn.vectors)] * turn.rows
    sums = [generator.standard_normal(width).astype(np.float32) for width in widths]
    wanted = [total.astype(np.float64) for total in sums]
    for unit in range(count * turn.units):
        for product in turn.products:
            for row, place, lane in product.terms:
                at = _DATA + unit * turn.distance + place + lane
                memory[at] = given[at]
                for v in range(turn.vectors):
                    number = row * turn.vectors + v
                    first = _WEIGHTS + unit * turn.weights + product.weights + turn.between * v
                    part = slice(first, first + widths[number])
                    memory[part] = given[part]
                    wanted[number] += given[at] * given[part].astype(np.float64)
    assert avx.fits(turn, lanes)
    _, text = avx.function(turn, looped, lanes)
    code = re.search(r'asm sideeffect "([^"]*)", "([^"]*)"', text)
    assert code
    fixed = {int(r) for r in re.findall(r"~\{[yz]mm(\d+)\}", code[2])}
    assert {int(r) for r in re.findall(r"%[xyz]mm(\d+)", code[1])} <= fixed
    assert len(fixed) + turn.sums <= (32 if lanes == 16 else 16)
    first = turn.sums if looped else 2 * turn.sums
    starts = [4 * _DATA, 4 * _WEIGHTS, *[_AHEAD] * bool(turn.fetched), *[count] * looped]
    machine = Machine(memory, sums, {f"${first + i}": start for i, start in enumerate(starts)})
    machine.run(code[1])
    assert machine.fetched == [_AHEAD + 64 * line for line in range(max(0, count) * turn.units * turn.fetched)]
    for got, expected in zip(sums, wanted, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("lanes", [8, 16])
@given(data=st.data(), count=st.integers(-1, 3), seed=st.integers(0, 2**16))
def test_turns_add_what_they_say_and_read_nothing_else(lanes: int, data: st.DataObject, count: int, seed: int) -> None:
    check(data.draw(turns(lanes)), count, looped=True, lanes=lanes, seed=seed)


@pytest.mark.parametrize("lanes", [8, 16])
@given(data=st.data())
def test_one_turn_needs_no_counter(lanes: int, data: st.DataObject) -> None:
    check(data.draw(turns(lanes)), 1, looped=False, lanes=lanes, seed=0)


def test_what_does_not_fit_is_left_to_llvm() -> None:
    def turn(rows: int, vectors: int, place: int = 0, between: int = 16) -> Turn:
        return Turn(rows, vectors, (Product(0, tuple((r, place, 0) for r in range(rows))),), 8, 8, between)

    assert avx.fits(turn(14, 2), 16) and avx.fits(turn(30, 1), 16) and avx.fits(turn(9, 3), 16)
    assert not avx.fits(turn(31, 1), 16)
    assert avx.fits(turn(14, 1), 8)
    assert not avx.fits(turn(15, 1), 8)
    assert not avx.fits(turn(2, 2, place=2**29), 16)
    assert not avx.fits(turn(2, 2, between=2**28), 16)


@pytest.mark.parametrize(("target", "changes", "wanted"), [
    ("raspberry-pi-4", {}, "neon"), ("raspberry-pi-3", {}, "neon"), ("armv7", {}, ""),
    ("x86-64-avx512", {}, "avx"), ("x86-64-avx2", {}, "avx"),
    *(("x86-64-avx512", {"features": tuple(f for f in load_target("x86-64-avx512").cpu.features if f != without)}, "")
      for without in ("avx2", "fma", "f16c", "avx512f", "avx512vl")),
    ("x86-64-avx512", {"vector_registers": 16}, ""),
    ("x86-64-avx2", {"vector_registers": 32}, ""), ("x86-64-avx2", {"features": ("avx2",)}, ""),
    ("x86-64-avx2", {"vector_bits": 128}, ""),
])
def test_a_cpu_gets_only_instructions_it_has(target: str, changes: dict[str, object], wanted: str) -> None:
    cpu = load_target(target).cpu
    assert assembly_of(msgspec.structs.replace(cpu, **changes)) == wanted
