"""exp, tanh, sigmoid and erf as arithmetic on vectors: no call, so a loop with them stays a vector loop.

Each function takes a TIR expression of type float32 or float32xN and returns one of the same type, made of add,
multiply, compare and select, integer add, and, or and shift on the same bits, and at most one division. LLVM contracts
multiply and add where the target has a fused instruction; the errors below hold with and without. They are the largest
of all 2^32 arguments, in units in the last place of the float32 result, against float64; subnormal results may be zero.

    exp       1.01    sigmoid   1.73    tanh      1.96    erf       1.20

NaN gives NaN; infinities give inf, 0, 1 or -1. The polynomials are minimax fits in the stated range, weighted by the
error they cause in the result; coefficients were rounded to float32 one by one, lowest power first, the others fitted
again. The range reductions are those of Cephes (Moshier) and of Cody and Waite, "Software Manual for the Elementary
Functions" (1980).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgecls.backends.tvm.environment import import_tvm

_LOG2_E = 1.44269502162933349609375
# ln 2 in two parts; the upper has 9 bits, so that its product with a whole number up to 2^15 is exact
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194441e-4
# 1.5 * 2^23, where neighbouring floats differ by one: adding it rounds to a whole number, which its low bits then hold
_ROUND = 12582912.0
_EXPONENT_BIAS, _MANTISSA_BITS = 127, 23
# added before rounding: -1/2 makes n the floor, the rest keeps n = 0 for x = 0 and 127 for the largest finite result
_DOWN, _NEAREST = -0.499995, 0.0
_SIGN, _MAGNITUDE = -(2**31), 2**31 - 1

# exp(r) = 1 + r * polynomial(r), r in [-0.001, ln 2 + 0.001], relative error 3e-9
_EXP = (1.0, 0.5000023245811462, 0.16663143038749695, 0.04185696691274643, 0.007865100167691708, 0.0019144436810165644)
# expm1(r) = r + r^2 * polynomial(r), |r| <= 0.3475, relative error 1.4e-8
_EXPM1 = (0.4999999701976776, 0.1666654497385025, 0.04166744649410248, 0.008366451598703861, 0.0013869680697098374)
# erf(x) = x + x * polynomial(x^2), |x| <= 1, relative error 1.5e-9
_ERF_INNER = (0.12837916612625122, -0.3761262595653534, 0.11283578723669052, -0.026853347197175026,
              0.005187162198126316, -0.0007997853099368513, 7.806903886375949e-05)
# erf(x) = 1 - polynomial(x)^8, x in [1, 3.95], absolute error 1.6e-8; from 3.92 on the result rounds to 1
_ERF_OUTER = (1.0008347034454346, -0.14506055414676666, -0.06142640486359596, -0.01137351244688034,
              0.012925843708217144, -0.002469727536663413, 0.00014984916197136045)


def exp(x: Any) -> Any:
    """2^n * exp(r), n = round(x * log2(e) - 1/2), r = x - n * ln 2 in [0, ln 2].

    That n is at most 127 wherever the result is finite, so that 2^n is made of bits. inf from 88.7228394 on, 0 below
    -87.3365448.
    """
    steps = _Steps()
    return steps.result(_exp(steps, x, 1))


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); 0 below -88."""
    steps = _Steps()
    return steps.result(1.0 / (1.0 + _exp(steps, x, -1)))


def tanh(x: Any) -> Any:
    """e / (e + 2) with the sign of x, e = expm1(2|x|) = 2^n * expm1(r) + (2^n - 1).

    n = round(2|x| * log2(e)), r = 2|x| - n * ln 2 in [-ln 2 / 2, ln 2 / 2]. n is 0 for small x, so nothing cancels.
    |x| is limited to 10: from 9.01 on the result rounds to 1.
    """
    steps = _Steps()
    x = steps.bind(x)
    magnitude = steps.bind(_absolute(x))
    y = steps.bind(2.0 * _at_most(magnitude, 10.0))
    r, power = _reduce(steps, y, 1, _NEAREST)
    grown = steps.bind(_polynomial(r, _EXPM1) * (r * r) + r)
    e = steps.bind(grown * power + (power - 1.0))
    return steps.result(_with_sign(e / (e + 2.0), x))


def erf(x: Any) -> Any:
    """x + x * polynomial(x^2) up to |x| = 1, from there 1 - polynomial(|x|)^8 with the sign of x."""
    steps = _Steps()
    x = steps.bind(x)
    square = steps.bind(x * x)
    inner = x * _polynomial(square, _ERF_INNER) + x
    magnitude = steps.bind(_absolute(x))
    root = steps.bind(_polynomial(steps.bind(_at_most(magnitude, 3.95)), _ERF_OUTER))
    root = steps.bind(root * root)
    root = steps.bind(root * root)
    outer = _with_sign(1.0 - root * root, x)
    return steps.result(import_tvm().tirx.Select(magnitude < 1.0, inner, outer))


class _Steps:
    """Names for values that are used more than once: written out at each use, an expression doubles with each."""

    def __init__(self) -> None:
        self._bound: list[tuple[Any, Any]] = []

    def bind(self, value: Any) -> Any:
        tvm = import_tvm()
        value = tvm.tirx.convert(value)
        variable = tvm.tirx.Var(f"t{len(self._bound)}", value.ty)
        self._bound.append((variable, value))
        return variable

    def result(self, value: Any) -> Any:
        """`value` inside all names."""
        tvm = import_tvm()
        for variable, bound in reversed(self._bound):
            value = tvm.tirx.Let(variable, bound, value)
        return value


def _exp(steps: _Steps, x: Any, sign: int) -> Any:
    """exp(sign * x); the sign goes into the constants."""
    low, high = sorted((sign * -88.0, sign * 89.0))
    x = steps.bind(x)
    x = steps.bind(_at_most(steps.bind(_at_least(x, low)), high))
    r, power = _reduce(steps, x, sign, _DOWN)
    coefficients = [c * sign ** (i + 1) for i, c in enumerate(_EXP)]
    return (r * _polynomial(r, coefficients) + 1.0) * power


def _reduce(steps: _Steps, x: Any, sign: int, shift: float) -> tuple[Any, Any]:
    """sign * r and 2^n: sign * x = n * ln 2 + r, n = round(sign * x * log2(e) + shift) in [-127, 128].

    For -127 and 128 the power is 0 and inf.
    """
    tvm = import_tvm()
    rounded = steps.bind(x * (sign * _LOG2_E) + shift + (_ROUND + _EXPONENT_BIAS))
    n = steps.bind(rounded - (_ROUND + _EXPONENT_BIAS))
    r = steps.bind(x - n * (sign * _LN2_HIGH) - n * (sign * _LN2_LOW))
    bits = tvm.tirx.reinterpret(_like(x, "int32"), rounded)
    return r, steps.bind(tvm.tirx.reinterpret(x.ty, bits << _MANTISSA_BITS))


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """Horner's rule; lowest power first."""
    *rest, value = coefficients
    for c in reversed(rest):
        value = value * x + c
    return value


def _at_most(x: Any, limit: float) -> Any:
    """NaN stays."""
    return _limit(x > limit, limit, x)


def _at_least(x: Any, limit: float) -> Any:
    """NaN stays."""
    return _limit(x < limit, limit, x)


def _limit(beyond: Any, limit: float, x: Any) -> Any:
    tvm = import_tvm()
    return tvm.tirx.Select(beyond, tvm.tirx.const(limit, x.ty), x)


def _absolute(x: Any) -> Any:
    tvm = import_tvm()
    return tvm.tirx.reinterpret(x.ty, tvm.tirx.reinterpret(_like(x, "int32"), x) & _MAGNITUDE)


def _with_sign(magnitude: Any, x: Any) -> Any:
    """magnitude: without a sign."""
    tvm = import_tvm()
    kind = _like(x, "int32")
    sign = tvm.tirx.reinterpret(kind, x) & _SIGN
    return tvm.tirx.reinterpret(x.ty, tvm.tirx.reinterpret(kind, magnitude) | sign)


def _like(x: Any, dtype: str) -> Any:
    """dtype with as many lanes as x."""
    tvm = import_tvm()
    return tvm.ir.PrimType(str(x.ty.dtype).replace("float32", dtype))
