"""What is computed on a finished tile before it is stored: bias, activation, residual, scale.

Plain data, so that a kernel's epilogue is part of its workload; `evaluate` turns it into vector code.
"""

from __future__ import annotations

import math
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
    from edgecls.backends.tvm import vector_math
    from edgecls.backends.tvm.vector_power import power

    return {
        "add": lambda s, a, b: a + b,
        "subtract": lambda s, a, b: a - b,
        "multiply": lambda s, a, b: a * b,
        "divide": lambda s, a, b: a / b,
        "maximum": lambda s, a, b: s.tir.Max(a, b),
        "minimum": lambda s, a, b: s.tir.Min(a, b),
        "multiply_add": lambda s, a, b, c: a * b + c,
        "relu": lambda s, a: s.tir.Max(a, s.number(0.0)),
        "negative": lambda s, a: s.number(0.0) - a,
        "sqrt": lambda s, a: s.tir.sqrt(a),
        "sigmoid": lambda s, a: vector_math.sigmoid(a, s.constant),
        "tanh": lambda s, a: vector_math.tanh(a),
        "exp": lambda s, a: vector_math.exp(a),
        "erf": lambda s, a: vector_math.erf(a),
        "log": lambda s, a: vector_math.log(a),
        "log1p": lambda s, a: vector_math.log1p(a),
        "gelu": lambda s, a: vector_math.gelu(a, s.constant),
        "silu": lambda s, a: vector_math.silu(a, s.constant),
        "gelu_tanh": lambda s, a: a * vector_math.sigmoid(a * (a * a * s.number(_TANH_CUBIC) + s.number(_TANH_LINEAR))),
        "rsqrt": lambda s, a: s.number(1.0) / s.tir.sqrt(a),
        "abs": lambda s, a: vector_math.absolute(a),
        # TVM's simplifier cannot multiply a choice between two vectors, but one between a vector and a number
        "prelu": lambda s, a, slope: a * s.tir.Select(a < s.number(0.0), slope, s.number(1.0)),
        "power": lambda s, a, exponent: power(a, exponent),
        "clip": _clip,
    }


_POLYNOMIALS = ("sigmoid", "tanh", "exp", "erf", "log", "log1p", "gelu", "silu", "gelu_tanh", "power")
# GELU's approximation by tanh is a sigmoid of this polynomial, 2 sqrt(2 / pi) (x + 0.044715 x^3)
_TANH_LINEAR = 2 * math.sqrt(2 / math.pi)
_TANH_CUBIC = _TANH_LINEAR * 0.044715


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


def simplified(expression: Expression) -> Expression:
    """Each as one function: GELU as exporters write it, x * (1 + erf(x / sqrt 2)) / 2 in any order; SiLU,
    x * sigmoid(x); and log(1 + x), of which little is left for small x."""
    if not isinstance(expression, Apply):
        return expression
    if (inner := _gelu_of(expression)) is not None:
        return Apply("gelu", (simplified(inner),))
    if (inner := _silu_of(expression)) is not None:
        return Apply("silu", (simplified(inner),))
    if (inner := _log1p_of(expression)) is not None:
        return Apply("log1p", (simplified(inner),))
    return Apply(expression.function, tuple(map(simplified, expression.arguments)), expression.bounds)


def _log1p_of(expression: Apply) -> Expression | None:
    if expression.function == "log" and isinstance(sum_ := expression.arguments[0], Apply) and sum_.function == "add":
        for one, other in (sum_.arguments, sum_.arguments[::-1]):
            if one == Number(1.0):
                return other
    return None


def _silu_of(expression: Apply) -> Expression | None:
    if expression.function == "multiply":
        for x, other in (expression.arguments, expression.arguments[::-1]):
            if other == Apply("sigmoid", (x,)):
                return x
    return None


def _gelu_of(expression: Expression) -> Expression | None:
    number, factors = _factors(expression)
    for factor in factors:
        if not isinstance(factor, Apply) or factor.function != "add" or Number(1.0) not in factor.arguments:
            continue
        for part in factor.arguments:
            if isinstance(part, Apply) and part.function == "erf" and isinstance(part.arguments[0], Apply):
                below, within = _factors(part.arguments[0])
                rest = [f for f in factors if f is not factor]
                # the same factors in front of the sum and within it: x and x / sqrt 2
                if sorted(map(repr, rest)) == sorted(map(repr, within)) and _near(below, number * math.sqrt(2)):
                    return _product(2 * number, within)
    return None


def _factors(expression: Expression) -> tuple[float, list[Expression]]:
    """A product as its number and what else is multiplied."""
    if isinstance(expression, Number):
        return expression.value, []
    if isinstance(expression, Apply) and expression.function == "multiply":
        (a, first), (b, second) = map(_factors, expression.arguments)
        return a * b, first + second
    if isinstance(expression, Apply) and expression.function == "divide":
        number, given = _factors(expression.arguments[0]), expression.arguments[1]
        if isinstance(given, Number) and given.value:
            return number[0] / given.value, number[1]
    return 1.0, [expression]


def _product(number: float, factors: Sequence[Expression]) -> Expression:
    result = factors[0]
    for factor in factors[1:]:
        result = Apply("multiply", (result, factor))
    return result if _near(number, 1.0) else Apply("multiply", (result, Number(number)))


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6)


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


def contains(expression: Expression, part: Expression) -> bool:
    return expression == part or (isinstance(expression, Apply)
                                  and any(contains(a, part) for a in expression.arguments))


def has_polynomials(expression: Expression) -> bool:
    return isinstance(expression, Apply) and (expression.function in _POLYNOMIALS
                                              or any(map(has_polynomials, expression.arguments)))


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
