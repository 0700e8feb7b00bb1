"""Products of a register tile as AArch64 instructions.

LLVM never loads several neighbouring vectors by one `ld1`, and given one it spills. Here the loop of a reduction is
written as the instructions it is to be: fixed registers for what is loaded, while the sums stay LLVM's, which finds
them the other registers. Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), section 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgecls.backends.tvm.blocked import assembly
from edgecls.backends.tvm.blocked.turn import Turn

REGISTERS = 32
# an ld1 takes up to four registers
MOST = 4
# bytes
_FLOAT, VECTOR_BYTES = 4, 16
LANES = 4


def function(turn: Turn, looped: bool) -> tuple[str, str]:
    """(name, LLVM IR) of int32 name(places of the sums ..., data, weights[, int32 count]).

    data: where the first unit's lowest place is. looped: `count` turns, which may be none, instead of one. Nothing is
    read beyond the vectors that the products name.
    """
    code = _Code(turn)
    lines = code.lines
    if looped:
        lines = ["cbz <count:w>, 2f", "1:", *lines, "subs <count:w>, <count:w>, #1", "b.ne 1b", "2:"]
    moved = {"data": "ptr", "weights": "ptr"} | ({"count": "i32"} if looped else {})
    return assembly.function(lines, ["<4 x float>"] * turn.sums, "w", moved, {"step": ("i64", str(code.step))},
                             [*(f"v{r}" for r in (*code.for_weights, *code.for_data)), "cc", "memory"])


def instructions(turn: Turn) -> int:
    """How many a turn has, without its loop's."""
    return len(_Code(turn).lines)


class _Code:
    """lines: the turn's instructions, in which <data>, <weights> and <step> stand for registers and $0 to $n for the
    sums, row by row. step: bytes, the last move of the data's pointer in each unit."""

    def __init__(self, turn: Turn) -> None:
        held = max(len(product.places) for product in turn.products)
        free = REGISTERS - turn.sums
        group = max(1, min(MOST, free - held))
        held = min(len({place for product in turn.products for place in product.places}), free - group)
        self.for_data = range(REGISTERS - held, REGISTERS)
        self.for_weights = range(self.for_data.start - group, self.for_data.start)
        self.lines: list[str] = []
        self.step = 0
        # (number of the product, of its vector), in the order in which weights lie
        uses = [(p, v) for p in range(len(turn.products)) for v in range(turn.vectors)]
        if turn.between != LANES:
            uses.sort(key=lambda use: use[1])
        weights = _Weights(self.for_weights, [
            (unit * turn.weights + turn.products[p].weights + v * turn.between) * _FLOAT
            for unit in range(turn.units) for p, v in uses])
        for _ in range(turn.units):
            self._unit(turn, uses, weights)
        self.lines += _moves("weights", turn.units * turn.weights * _FLOAT - weights.moved)

    def _unit(self, turn: Turn, uses: Sequence[tuple[int, int]], weights: _Weights) -> None:
        data = _Data(self.for_data, [turn.products[p].places for p, _ in uses], turn.first)
        for number, (p, v) in enumerate(uses):
            self.lines += data.bring(number)
            self.lines += weights.bring()
            weight = weights.ready.pop(0)
            self.lines += [f"fmla ${row * turn.vectors + v}.4s, v{weight}.4s, v{data.where[place]}.s[{lane}]"
                           for row, place, lane in turn.products[p].terms]
        last = max(i for i, line in enumerate(self.lines) if "[<data>" in line)
        address, moves, size = self.lines[last].rpartition("], #")
        # a load that moves the pointer behind itself can as well move it to the next unit
        if moves:
            self.lines[last] = f"{address}], <step>"
        else:
            self.lines.append("add <data>, <data>, <step>")
        self.step = turn.distance * _FLOAT - data.moved + (int(size) if moves else 0)


class _Weights:
    """Vectors of weights, each used once, in groups of neighbours. moved: bytes that the pointer has."""

    def __init__(self, registers: range, places: Sequence[int]) -> None:
        self.registers, self.coming = registers, list(places)
        self.ready: list[int] = []
        self.moved = 0

    def bring(self) -> Iterator[str]:
        if self.ready:
            return
        group = _neighbours(self.coming, self.registers, VECTOR_BYTES)
        yield from _moves("weights", self.coming[0] - self.moved)
        self.ready = list(self.registers[:group])
        yield _load(self.ready, "weights")
        self.moved = self.coming[group - 1] + VECTOR_BYTES
        del self.coming[:group]


class _Data:
    """Which vector of a unit's data is in which register. moved: bytes that the pointer has."""

    def __init__(self, registers: range, needed: Sequence[tuple[int, ...]], first: int) -> None:
        self.needed, self.first = needed, first
        self.where: dict[int, int] = {}
        self.free = list(registers)
        self.moved = 0

    def bring(self, number: int) -> Iterator[str]:
        """Loads before product `number`: what it lacks, and of what later ones need as much as finds a register."""
        lacking = [p for p in self.needed[number] if p not in self.where]
        if not lacking:
            return
        coming = list(dict.fromkeys(p for places in self.needed[number:] for p in places))
        for place in [p for p in self.where if p not in coming]:
            self.free.append(self.where.pop(place))
        # what is needed last gives way
        present = sorted(self.where, key=coming.index, reverse=True)
        for place in present[:max(0, len(lacking) - len(self.free))]:
            self.free.append(self.where.pop(place))
        self.free.sort()
        places = sorted([p for p in coming if p not in self.where][:len(self.free)])
        registers, self.free = self.free[:len(places)], self.free[len(places):]
        self.where |= dict(zip(places, registers, strict=True))
        while places:
            group = _neighbours(places, registers, LANES)
            yield from self._load((places[0] - self.first) * _FLOAT - self.moved, registers[:group])
            places, registers = places[group:], registers[group:]

    def _load(self, at: int, registers: list[int]) -> Iterator[str]:
        aligned = at % VECTOR_BYTES == 0
        if at and len(registers) == 1 and ((aligned and 0 < at < 65536) or -256 <= at < 256):
            yield f"{'ldr' if aligned and at > 0 else 'ldur'} q{registers[0]}, [<data>, #{at}]"
        elif at and len(registers) == 2 and aligned and -1024 <= at < 1024:
            yield f"ldp q{registers[0]}, q{registers[1]}, [<data>, #{at}]"
        else:
            yield from _moves("data", at)
            yield _load(registers, "data")
            self.moved += at + len(registers) * VECTOR_BYTES


def _neighbours(places: Sequence[int], registers: Sequence[int], distance: int) -> int:
    """How many of the first can be loaded at once: places and registers follow one another."""
    count = 1
    while (count < min(MOST, len(places), len(registers)) and places[count] == places[count - 1] + distance
           and registers[count] == registers[count - 1] + 1):
        count += 1
    return count


def _load(registers: Sequence[int], pointer: str) -> str:
    """The next vectors, behind which it leaves the pointer."""
    return f"ld1 {{{', '.join(f'v{r}.4s' for r in registers)}}}, [<{pointer}>], #{len(registers) * VECTOR_BYTES}"


def _moves(pointer: str, distance: int) -> Iterator[str]:
    name, left = ("sub" if distance < 0 else "add"), abs(distance)
    while left:
        part = min(left, 0xFFF) if left < 0x1000 else min(left >> 12, 0xFFF) << 12
        yield f"{name} <{pointer}>, <{pointer}>, #{part if part < 0x1000 else f'{part >> 12}, lsl #12'}"
        left -= part
