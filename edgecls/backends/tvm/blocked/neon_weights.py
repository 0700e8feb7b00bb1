"""Winograd's transform of weights as AArch64 instructions.

36 results of a kernel lie far apart in memory, where LLVM stores each by itself. Here the kernels of two vectors of
outputs are transformed at once and stored in pairs, and the pointer moves behind each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from edgecls.backends.tvm.blocked.neon import LANES, MOST, VECTOR_BYTES
from edgecls.backends.tvm.winograd_programs import Program, Step

# vectors at once; more would not find registers
TOGETHER = 2


def function(program: Program, width: int, stride: int, forward: int) -> tuple[str, str]:
    """(name, LLVM IR) of int32 name(weights, results, factors, int32 count): `count` kernels, 1 or more.

    weights: [kernel][row][column][vector][lane], `width` vectors. Result v of kernel k is stored at v * stride +
    k * forward, in floats. factors: program.constants, a vector. The program makes results from the columns first,
    then from the rows.
    """
    code = _Code(program, width)
    moves = 4 * forward - 4 * (len(program.outputs) ** 2 - 1) * stride
    text = r"\0A".join([f"ldr q{code.factors}, [$6]", "1:", *code.lines, "subs ${2:w}, ${2:w}, #1", "b.ne 1b"])
    taken = [*(f"v{r}" for r in range(code.factors + 1)), "cc", "memory"]
    constraints = ",".join(["=&r"] * 3 + ["0", "1", "2", "r", "r", "r"] + [f"~{{{name}}}" for name in taken])
    body = (f'%r = call {{ ptr, ptr, i32 }} asm sideeffect "{text}", "{constraints}"(ptr %weights, ptr %results, '
            f"i32 %count, ptr %factors, i64 {4 * stride}, i64 {moves})")
    name = "ec_weights_" + hashlib.sha256(body.encode()).hexdigest()[:16]
    return name, (f"define i32 @{name}(ptr %weights, ptr %results, ptr %factors, i32 %count) {{\n{body}\n"
                  "ret i32 0\n}\n")


class _Code:
    """lines: of one kernel, in which $0 and $1 are the pointers, $7 the stride and $8 the way to the next kernel.
    Values are groups of `width` neighbouring registers, named by the first. factors: the register behind all."""

    def __init__(self, program: Program, width: int) -> None:
        self.width = width
        assert len(program.constants) <= LANES
        self.constants = program.constants
        self.lines: list[str] = []
        self.free: list[int] = []
        self.registers = 9 * width
        given = range(0, self.registers, width)
        for first in range(0, self.registers, MOST):
            self.lines.append(_move("ld1", range(first, min(first + MOST, self.registers)), "$0", ""))
        size = len(program.outputs)
        for i, row in self._run(program, [given[j::3] for j in range(3)], own=True):
            for j, (value,) in self._run(program, [row], own=False):
                way = "$8" if i == j == size - 1 else "$7"
                self.lines.append(_move("st1", range(value, value + width), "$1", way))
        self.factors = self.registers
        self.lines = [line.replace("<factors>", f"v{self.factors}") for line in self.lines]

    def _run(self, program: Program, given: Sequence[Sequence[int]], own: bool) -> Iterator[tuple[int, list[int]]]:
        """A transform of several sequences at once: the number of each result with its values, as soon as they are
        made. own: whether the registers of what is given may be used again."""
        known = [dict(enumerate(values)) for values in given]
        numbers = {value: i for i, value in enumerate(program.outputs)}
        last = {value: i for i, step in enumerate(program.steps) for value in step.reads}
        for value in range(program.inputs + len(program.steps)):
            number = value - program.inputs
            if number >= 0:
                step = program.steps[number]
                dying = [v for v in dict.fromkeys(step.reads) if last[v] == number and (own or v >= program.inputs)]
                over = step.addend if step.addend in dying else None
                for values in known:
                    values[value] = values[over] if over is not None else self._take()
                    self._execute(step, values)
                    self.free += [values[v] for v in dying if v != over]
            if value in numbers:
                yield numbers[value], [values[value] for values in known]
                if value not in last and (own or number >= 0):
                    self.free += [values[value] for values in known]

    def _take(self) -> int:
        if not self.free:
            self.free.append(self.registers)
            self.registers += self.width
        self.free.sort()
        return self.free.pop(0)

    def _execute(self, step: Step, values: dict[int, int]) -> None:
        for v in range(self.width):
            to, other = (f"v{values[place] + v}.4s" for place in (step.destination, step.multiplicand))
            addend = None if step.addend is None else f"v{values[step.addend] + v}.4s"
            if addend and abs(step.factor) == 1:
                self.lines.append(f"{'fadd' if step.factor > 0 else 'fsub'} {to}, {addend}, {other}")
                continue
            if addend and addend != to:
                self.lines.append(f"mov {to.replace('4s', '16b')}, {addend.replace('4s', '16b')}")
            name = ("fmla" if step.factor > 0 else "fmls") if addend else "fmul"
            constant = f"<factors>.s[{self.constants.index(abs(step.factor))}]"
            self.lines.append(f"{name} {to}, {other}, {constant}")


def _move(name: str, registers: range, pointer: str, way: str) -> str:
    """Of neighbouring registers, behind which the pointer moves on, or by `way`."""
    return (f"{name} {{{', '.join(f'v{r}.4s' for r in registers)}}}, [{pointer}], "
            + (way or f"#{len(registers) * VECTOR_BYTES}"))
