"""The steps of Winograd's transforms as vector code, and the factors that they multiply by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Window
from edgecls.backends.tvm.winograd_programs import Program, Step, weights_program
from edgecls.backends.tvm.winograd_tiles import spans
from edgecls.backends.tvm.winograd_transforms import input_transform, output_transform
from edgecls.types import Array

Factor = Callable[[Fraction], Expr]


@dataclass(frozen=True)
class Factors:
    """What the transforms of a layer multiply by, behind its weights: NEON multiplies by a lane of a vector, and so has
    no register of its own for each. They are the same for all batch sizes."""

    programs: tuple[Program, ...]
    lanes: int

    @staticmethod
    def of(window: Window, m: int, on_device: bool, lanes: int) -> Factors:
        sizes = dict.fromkeys([m, *(span.outputs for size in (window.oh, window.ow) for span in spans(size, m, True))])
        both = [(input_transform(m, size, on_device), output_transform(m, size)) for size in sizes]
        return Factors((*chain(*both), *[weights_program(m)] * on_device), lanes)

    @property
    def array(self) -> Array:
        """Each program's begin a vector."""
        padded = [[*map(float, p.constants), *[0.0] * (-len(p.constants) % self.lanes)] for p in self.programs]
        return np.concatenate(padded).astype(np.float32)

    def place(self, program: Program, buffer: Any) -> int:
        """Of a program's factors in a buffer that ends with the array."""
        sizes = [-(-len(p.constants) // self.lanes) * self.lanes for p in self.programs]
        return int(buffer.shape[0]) - sum(sizes[self.programs.index(program):])

    def load(self, simd: Simd, program: Program, buffer: Any) -> Factor:
        """buffer: ends with the array."""
        if not simd.by_element:
            return lambda factor: simd.number(float(factor))
        first = self.place(program, buffer)
        vectors = [simd.bind(simd.load(buffer, first + i)) for i in range(0, len(program.constants), self.lanes)]

        def factor(number: Fraction) -> Expr:
            place = program.constants.index(abs(number))
            return simd.element(vectors[place // self.lanes], place % self.lanes)

        return factor


def execute(simd: Simd, step: Step, values: Mapping[int, Expr], factor: Factor) -> Expr:
    other = values[step.multiplicand]
    if abs(step.factor) != 1:
        other = factor(abs(step.factor)) * other
    if step.addend is None:
        return simd.bind(other if step.factor > 0 else -other)
    addend = values[step.addend]
    return simd.bind(addend + other if step.factor > 0 else addend - other)


def run(simd: Simd, program: Program, given: Sequence[Expr], factor: Factor) -> list[Expr]:
    """A transform's steps on vectors."""
    values = dict(enumerate(given))
    for step in program.steps:
        values[step.destination] = execute(simd, step, values, factor)
    return [values[v] for v in program.outputs]
