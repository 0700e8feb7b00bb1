"""The 1-D transforms of winograd_transforms.py as straight-line vector code: few operations, few registers.

The polynomials of a pair of points +-p differ in the sign of their odd terms alone. Rows +-p of B_T are therefore
e + p o and e - p o, with e on the even inputs and o on the odd ones; columns +-p of A_T see only the sum and the
difference of their inputs. What is left is shared by hand, and every line is one operation:

- F(4): the points 2/3, 3/2 are reciprocal, so row 0 is (d0 + d4) - 97/36 d2, and A_T needs three constants.
- F(6): the points 1/2, 1, 2 are geometric, so row 0 is (d6 - d0) - 21/4 (d4 - d2), and d4 - d2 and d6 - d4 also make
  the even parts for +-1/2 and +-2; the same for the odd inputs: 22 operations where separate polynomials take 24.
- A multiply-add overwrites its addend on ARM (one of its operands on x86), so an addend that is read again costs a
  move (`Program.copies`). v2 = v1 - 2p o instead of e - p o, O from o, v4 from v2: the addend is dead once stored.
  Measured against the version with moves this adds 3 % to the error of F(4) and 1 % to that of F(6).

The lines are in an order of fewest live values and then fewest moves, the best there is by exhaustive search.

Weights that a kernel transforms itself go through G without the scales of its rows, which winograd_transforms.py moves
to the input and to the stored weights: three or four operations for a pair of points, and no move. Results are made in
their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from edgecls.types import Array

_INPUT = {
    2: """
        v0 = d2 - d0
        v2 = d2 + d1
        v3 = d2 - d1
        v1 = d3 - d1
    """,
    4: """
        r = d5 + d1
        v1 = r - 97/36 d3
        o = d3 - 9/4 d1
        q = d0 + d4
        v0 = q - 97/36 d2
        e = d4 - 9/4 d2
        v2 = e + 2/3 o
        v3 = v2 - 4/3 o
        E = d4 - 4/9 d2
        O = o + 65/36 d1
        v4 = E + 3/2 O
        v5 = v4 - 3 O
    """,
    6: """
        h = d6 - d0
        f = d4 - d2
        v0 = h - 21/4 f
        a = d6 + d2
        a = a - 17/4 d4
        g = d6 - d4
        b = d5 + d1
        b = b - 17/4 d3
        v4 = a + b
        v5 = a - b
        j = d3 - d1
        k = d5 - d3
        n = d7 - d1
        v1 = n - 21/4 k
        o = k - 4 j
        e = g - 4 f
        v2 = e + 1/2 o
        v3 = v2 - o
        O = k - 1/4 j
        E = g - 1/4 f
        v6 = E + 2 O
        v7 = v6 - 4 O
    """,
}
_OUTPUT = {
    2: """
        s = d2 + d3
        t = d2 - d3
        v0 = d0 + s
        v1 = d1 + t
    """,
    4: """
        s = d2 + d3
        t = d2 - d3
        S = d4 + d5
        T = d4 - d5
        v0 = d0 + 9/4 s
        v0 = v0 + 2/3 S
        v3 = d1 + 2/3 t
        v3 = v3 + 9/4 T
        v1 = T + 3/2 t
        v2 = s + 3/2 S
    """,
    6: """
        s = d2 + d3
        t = d2 - d3
        S = d4 + d5
        T = d4 - d5
        Z = d6 + d7
        W = d6 - d7
        v0 = d0 + s
        v0 = v0 + S
        v0 = v0 + Z
        v2 = S + 1/4 s
        v2 = v2 + 4 Z
        v4 = v2 - 3/16 s
        v4 = v4 + 12 Z
        v5 = d1 + T
        v5 = v5 + 1/32 t
        v5 = v5 + 32 W
        v1 = T + 1/2 t
        v1 = v1 + 2 W
        v3 = v1 - 3/8 t
        v3 = v3 + 6 W
    """,
}
_WEIGHTS = {
    2: """
        v0 = d0
        v1 = d2
        e = d0 + d2
        v2 = e + d1
        v3 = v2 - 2 d1
    """,
    4: """
        v0 = d0
        v1 = d2
        e = d0 + d2
        v2 = e + d1
        v3 = v2 - 2 d1
        E = 4/9 d0
        E = E + 9/4 d2
        v4 = E + d1
        v5 = v4 - 2 d1
    """,
    6: """
        v0 = d0
        v1 = d2
        E = 2 d0
        E = E + 1/2 d2
        v2 = E + d1
        v3 = v2 - 2 d1
        e = d0 + d2
        v4 = e + d1
        v5 = v4 - 2 d1
        E = 1/2 d0
        E = E + 2 d2
        v6 = E + d1
        v7 = v6 - 2 d1
    """,
}


@dataclass(frozen=True)
class Step:
    """value[destination] = value[addend] + factor * value[multiplicand]: a sum, a difference or one multiply-add;
    without an addend the product alone."""

    destination: int
    addend: int | None
    factor: Fraction
    multiplicand: int

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.multiplicand,) if self.addend is None else (self.addend, self.multiplicand)


@dataclass(frozen=True)
class Program:
    """Values 0 .. inputs - 1 are given, each step defines the next one; outputs: the values that are the result."""

    inputs: int
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def apply(self, values: Array) -> Array:
        """(inputs, ...) -> (outputs, ...). Each operation is rounded to the dtype; objects are exact Fractions."""
        exact = values.dtype == object
        known = list(values)
        for step in self.steps:
            factor = step.factor if exact else values.dtype.type(step.factor)
            product = factor * known[step.multiplicand]
            known.append(product if step.addend is None else known[step.addend] + product)
        return np.stack([known[i] for i in self.outputs])

    @property
    def constants(self) -> tuple[Fraction, ...]:
        """Magnitudes other than 1, largest first: what an emitter keeps in lanes or broadcasts."""
        return tuple(sorted({abs(s.factor) for s in self.steps} - {Fraction(1)}, reverse=True))

    @property
    def max_live(self) -> int:
        """Registers for values, when an input is loaded at its first use and an output is stored where it is made."""
        last = self._last_uses()
        held: set[int] = set()
        most = 0
        for i, step in enumerate(self.steps):
            held |= set(step.reads)
            most = max(most, len(held))
            held = {v for v in held if last[v] > i}
            most = max(most, len(held) + 1)
            if step.destination in last:
                held.add(step.destination)
        return most

    @property
    def copies(self) -> int:
        """Multiply-adds whose addend is read again: a move each, where the addend is overwritten."""
        last = self._last_uses()
        return sum(s.addend is not None and abs(s.factor) != 1 and last[s.addend] > i
                   for i, s in enumerate(self.steps))

    def _last_uses(self) -> dict[int, int]:
        return {value: i for i, s in enumerate(self.steps) for value in s.reads}

    def scaled(self, factors: Sequence[Fraction]) -> Program:
        """Its outputs multiplied by these, each where it is made."""
        places = {i: i for i in range(self.inputs)}
        steps: list[Step] = []
        outputs = dict(zip(self.outputs, factors, strict=True))
        results: dict[int, int] = {}
        for step in self.steps:
            place = places[step.destination] = self.inputs + len(steps)
            addend = None if step.addend is None else places[step.addend]
            steps.append(Step(place, addend, step.factor, places[step.multiplicand]))
            if outputs.get(step.destination, 1) != 1:
                steps.append(Step(place + 1, None, outputs[step.destination], place))
            results[step.destination] = self.inputs + len(steps) - 1
        return Program(self.inputs, tuple(steps), tuple(results[v] for v in self.outputs))


@cache
def input_program(m: int) -> Program:
    """B_T of F(m x m, 3x3): m + 2 values of a tile's row or column -> as many."""
    return _parse(_INPUT[m], inputs=m + 2, outputs=m + 2)


@cache
def output_program(m: int) -> Program:
    """A_T of F(m x m, 3x3): m + 2 products -> m outputs."""
    return _parse(_OUTPUT[m], inputs=m + 2, outputs=m)


@cache
def weights_program(m: int) -> Program:
    """G of F(m x m, 3x3) without the scales of its rows, on scaled weights: 3 values -> m + 2."""
    return _parse(_WEIGHTS[m], inputs=3, outputs=m + 2)


def of_matrix(matrix: Array) -> Program:
    """Of exact Fractions: row by row, a multiply-add for each coefficient."""
    inputs, steps, outputs = matrix.shape[1], list[Step](), []
    for row in matrix:
        # a coefficient of 1 costs nothing where it comes first
        order = sorted(np.flatnonzero(row), key=lambda k: abs(row[k] - 1) > 0)
        value = None
        for place in map(int, order):
            if value is None and row[place] == 1:
                value = place
                continue
            steps.append(Step(inputs + len(steps), value, row[place], place))
            value = steps[-1].destination
        assert value is not None
        outputs.append(value)
    return Program(inputs, tuple(steps), tuple(outputs))


def _parse(text: str, inputs: int, outputs: int) -> Program:
    """d0, d1, ... are the inputs and v0, v1, ... the outputs; a name that is defined again is a new value."""
    names = {f"d{i}": i for i in range(inputs)}
    steps: list[Step] = []
    for line in text.strip().splitlines():
        name, _, addend, *term = line.split()
        if not term:
            names[name] = names[addend]
            continue
        if len(term) == 1:
            steps.append(Step(inputs + len(steps), None, Fraction(addend), names[term[0]]))
            names[name] = steps[-1].destination
            continue
        sign, *magnitude, multiplicand = term
        factor = Fraction(sign + (magnitude[0] if magnitude else "1"))
        step = Step(inputs + len(steps), names[addend], factor, names[multiplicand])
        steps.append(step)
        names[name] = step.destination
    return Program(inputs, tuple(steps), tuple(names[f"v{i}"] for i in range(outputs)))
