"""What executed AArch64 code consists of: loads, stores and fused multiply-adds, told by its disassembly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from edgecls.devices import Block

_SCALAR = {"q": 16, "x": 8, "d": 8, "w": 4, "s": 4, "h": 2, "b": 1}
_ZEROED = 64  # bytes that `dc zva` of every Cortex-A writes
_LIST = re.compile(r"\{(.*)\}(\[\w+\])?")
_SPILL = re.compile(r"(ld|st)(r|p|ur) q\d+.*\[sp\b")


class Mix(NamedTuple):
    """Executed instructions. fmas: those on vectors; macs: multiply-adds of floats, vector or not, lane by lane.

    spills: loads and stores of whole vector registers to and from the stack. Functions save halves of eight of them for
    their callers, and x29 is a register like any other.
    """

    instructions: int = 0
    loads: int = 0
    stores: int = 0
    loaded_bytes: int = 0
    stored_bytes: int = 0
    fmas: int = 0
    macs: int = 0
    spills: int = 0

    @property
    def fma_share(self) -> float:
        return self.fmas / max(self.instructions, 1)

    def per_run(self, fewer: Mix, runs: int) -> Mix:
        """One run's share of self, of which `fewer` took `runs` runs less: what else they do may differ a little."""
        return Mix(*(round((more - less) / runs) for more, less in zip(self, fewer, strict=True)))


def mix_of(blocks: Iterable[Block]) -> Mix:
    total = [0] * len(Mix._fields)
    for block in blocks:
        for i, value in enumerate(_of_block(block.code)):
            total[i] += value * block.executed
    return Mix(*total)


@cache
def _of_block(code: tuple[str, ...]) -> Mix:
    return Mix(*map(sum, zip(*map(of_instruction, code), strict=True)))


@cache
def of_instruction(text: str) -> Mix:
    """text: as the disassembler writes it: `ldr q0, [x1, #0x10]`."""
    name, _, operands = text.partition(" ")
    spills = bool(_SPILL.match(text))
    if name.startswith("ld"):
        return Mix(1, loads=1, loaded_bytes=_moved(name, operands), spills=spills)
    if name.startswith("st"):
        return Mix(1, stores=1, stored_bytes=_moved(name, operands), spills=spills)
    if name == "dc" and operands.startswith("zva"):
        return Mix(1, stores=1, stored_bytes=_ZEROED)
    if name in ("fmla", "fmls"):
        lanes = re.match(r"v\d+\.(\d+)", operands)
        return Mix(1, fmas=1, macs=int(lanes[1])) if lanes else Mix(1, macs=1)
    return Mix(1, macs=name in ("fmadd", "fmsub", "fnmadd", "fnmsub"))


def _moved(name: str, operands: str) -> int:
    registers = _LIST.match(operands)
    if registers:
        return _moved_by_list(name, registers[1].split(", "), lane=registers[2] is not None)
    if name.endswith("sw"):
        return 8 if name == "ldpsw" else 4
    if name[-1] in "bh":
        return _SCALAR[name[-1]]
    first, *rest = operands.split(", ")
    if name in ("stxr", "stlxr", "stxp", "stlxp"):  # the first register takes the status
        first = rest[0]
    return _SCALAR[first[0]] * (2 if name in ("ldp", "ldnp", "stp", "stnp", "ldxp", "ldaxp", "stxp", "stlxp") else 1)


def _moved_by_list(name: str, registers: list[str], lane: bool) -> int:
    arrangement = registers[0].partition(".")[2]  # 4s, or s for one lane
    element = _SCALAR[arrangement[-1]]
    count = 1 if lane or name.endswith("r") else int(arrangement[:-1])
    return len(registers) * element * count
