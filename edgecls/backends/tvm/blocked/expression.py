"""What is computed on a finished tile before it is stored: bias, activation, residual, scale.

Plain data, so that a kernel's epilogue is part of its workload; `evaluate` turns it into vector code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgecls.backends.tvm.blocked.simd import Expr, Simd

Spread = Literal["full", "channel", "image"]


@dataclass(frozen=True)
class Tile:
    """What the kernel itself computes."""


TILE = Tile()


@dataclass(frozen=True)
class Operand:
    """Another tensor. number: its place among the group's operands.

    spread: full: of the result's shape; channel: one vector of constants per block of channels; image: one value per
    image and channel, (N, C, 1, 1).
    """

    number: int
    spread: Spread


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Apply:
    """bounds: numbers that the function is made with: limits of clip, exponent of power."""

    function: str
    arguments: tuple[Expression, ...]
    bounds: tuple[float, ...] = ()


Expression = Tile | Operand | Number | Apply


def _clip(simd: Simd, value: Expr, low: float, high: float) -> Expr:
    value = simd.tir.Max(value, simd.number(low)) if low > float("-inf") else value
    return simd.tir.Min(value, simd.number(high)) if high < float("inf") else value


def _functions() -> dict[str, Callable[..., Expr]]:
    from edgecls.backends.tvm import vector_math as math
    from edgecls.backends.tvm.vector_power import power

    return {
        "add": lambda s, a, b: a + b,
        "subtract": lambda s, a, b: a - b,
        "multiply": lambda s, a, b: a * b,
        "divide": lambda s, a, b: a / b,
        "maximum": lambda s, a, b: s.tir.Max(a, b),
        "minimum": lambda s, a, b: s.tir.Min(a, b),
        "relu": lambda s, a: s.tir.Max(a, s.number(0.0)),
        "negative": lambda s, a: s.number(0.0) - a,
        "sqrt": lambda s, a: s.tir.sqrt(a),
        "sigmoid": lambda s, a: math.sigmoid(a),
        "tanh": lambda s, a: math.tanh(a),
        "exp": lambda s, a: math.exp(a),
        "erf": lambda s, a: math.erf(a),
        "log": lambda s, a: math.log(a),
        "log1p": lambda s, a: math.log1p(a),
        "rsqrt": lambda s, a: s.number(1.0) / s.tir.sqrt(a),
        "abs": lambda s, a: math.absolute(a),
        "prelu": lambda s, a, slope: s.tir.Select(a < s.number(0.0), a * slope, a),
        "power": lambda s, a, exponent: power(a, exponent),
        "clip": _clip,
    }


_POLYNOMIALS = ("sigmoid", "tanh", "exp", "erf", "log", "log1p", "power")


def evaluate(simd: Simd, expression: Expression, tile: Expr, load: Callable[[Operand], Expr]) -> Expr:
    """Vector code for one vector of the result. load: the vector of an operand that belongs to it."""
    functions = _functions()
    done: dict[Expression, Expr] = {}

    def visit(e: Expression) -> Expr:
        if isinstance(e, Tile):
            return tile
        if isinstance(e, Number):
            return simd.number(e.value)
        if e not in done:
            value = load(e) if isinstance(e, Operand) else apply(e)
            # through a register: TVM follows names, and takes time that doubles with each polynomial behind another
            opaque = isinstance(e, Apply) and e.function in _POLYNOMIALS
            done[e] = simd.bind(simd.value(simd.register(value, "e")) if opaque else value, "e")
        return done[e]

    def apply(e: Apply) -> Expr:
        arguments = [visit(a) for a in e.arguments]
        if e.function == "divide" and isinstance(e.arguments[1], Number) and e.arguments[1].value:
            return arguments[0] * simd.number(1.0 / e.arguments[1].value)
        return functions[e.function](simd, *arguments, *e.bounds)

    return visit(expression)


def operands(expression: Expression) -> list[Operand]:
    """All operands, in order of their numbers."""
    found: dict[int, Operand] = {}

    def visit(e: Expression) -> None:
        if isinstance(e, Operand):
            found[e.number] = e
        elif isinstance(e, Apply):
            for a in e.arguments:
                visit(a)

    visit(expression)
    return [found[n] for n in sorted(found)]


def substitute(expression: Expression, old: Expression, new: Expression) -> Expression:
    """`expression` with every occurrence of `old` replaced."""
    if expression == old:
        return new
    if isinstance(expression, Apply):
        return Apply(expression.function, tuple(substitute(a, old, new) for a in expression.arguments),
                     expression.bounds)
    return expression


def simplified(expression: Apply) -> Apply:
    """log(1 + x), of which little is left for small x, as one function."""
    if expression.function == "log" and isinstance(sum_ := expression.arguments[0], Apply) and sum_.function == "add":
        for one, other in (sum_.arguments, sum_.arguments[::-1]):
            if one == Number(1.0):
                return Apply("log1p", (other,))
    return expression


def contains(expression: Expression, part: Expression) -> bool:
    return expression == part or (isinstance(expression, Apply)
                                  and any(contains(a, part) for a in expression.arguments))


def describe(expression: Expression) -> str:
    """One line for people: "relu(add(tile, channel))"."""
    if isinstance(expression, Tile):
        return "tile"
    if isinstance(expression, Operand):
        return expression.spread
    if isinstance(expression, Number):
        return f"{expression.value:g}"
    inner: Sequence[Any] = [*map(describe, expression.arguments), *(f"{b:g}" for b in expression.bounds)]
    return f"{expression.function}({', '.join(inner)})"
