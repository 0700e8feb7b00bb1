"""exp, tanh, sigmoid, erf, log and GELU as arithmetic on vectors: no call, so a loop with them stays a vector loop.

Each function takes a TIR expression of type float32 or float32xN and returns one of the same type, made of add,
multiply, compare and select, integer and, or and shift on the same bits, and at most one division. LLVM contracts
multiply and add where the target has a fused instruction. The largest errors of normal results, in units in the last
place, against float64, over every x with 2^-30 <= |x| < 2^8 and one in 16 blocks of the others, without fused
instructions:

    exp  1.84    sigmoid  2.00    tanh  1.39    erf  1.84    log  0.87    log1p  1.45

With them exp has 1.50 and erf 1.53, the others the same. Subnormal results may be zero. NaN gives NaN; infinities give
inf, 0, 1 or -1; log and log1p give -inf at the end of their range and NaN beyond it. What only edgecls's own kernels
use is shorter and less exact: gelu is off by at most 2.6e-7, or 1e-6 of a result beyond 0.1; exp2_down by 1.8e-7 of
the result. The polynomials are minimax fits in the stated range, weighted by the error they cause in the result;
coefficients were rounded to float32 one by one, lowest power first, the others fitted again (but for log). The range
reductions are those of Cephes (Moshier) and of Cody and Waite, "Software Manual for the Elementary Functions" (1980).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgecls.backends.tvm.environment import import_tvm

Constant = Callable[[float], Any]

_LOG2_E = 1.4426950216293335
# ln 2 in two parts; the upper has 9 bits, so that its product with a whole number up to 2^15 is exact
_LN2_HIGH, _LN2_LOW = 0.693359375, -0.00021219444170128554
# 1.5 * 2^23, where neighbouring floats differ by one: adding it rounds to a whole number, which its low bits then hold
_ROUND = 12582912.0
_EXPONENT_BIAS, _MANTISSA_BITS = 127, 23
# added before rounding: -1/2 makes n the floor, the rest keeps n = 0 for x = 0 and 127 for the largest finite result
_DOWN, _NEAREST = -0.499995, 0.0
_SIGN, _MAGNITUDE = -(2**31), 2**31 - 1

# expm1(r) = r * polynomial(r), r in [-0.001, ln 2 + 0.001], error 3e-9 of exp(r)
_EXP_ABOVE = (1.0, 0.5000023245811462, 0.16663143038749695, 0.04185696691274643, 0.007865100167691708,
              0.0019144436810165644)
# the same, |r| <= 0.3475, error 4e-9 of exp(r)
_EXP_AROUND = (1.0, 0.4999999403953552, 0.1666652113199234, 0.04166829213500023, 0.008368715643882751,
               0.0013818697771057487)
# tanh(x) = x + x * x^2 * polynomial(x^2), |x| <= 0.55, relative error 3.7e-8
_TANH = (-0.3333294689655304, 0.1332072913646698, -0.05267200991511345, 0.01643787883222103)
# erf(x) = x + x * polynomial(x^2), x in [0, 1.2], relative error 1.5e-9
_ERF_INNER = (0.12837916612625122, -0.37612631916999817, 0.11283701658248901, -0.026861518621444702,
              0.005211775656789541, -0.0008369578281417489, 0.00010553280299063772, -7.902210199972615e-06)
# erf(x) = 1 - polynomial(x)^8, x in [1.2, 3.95], absolute error 4e-9; from 3.92 on the result rounds to 1
_ERF_OUTER = (1.0013586282730103, -0.1469527631998062, -0.05862777307629585, -0.013541280291974545,
              0.013852518051862717, -0.002676853910088539, 0.0001687482581473887)
# log(1 + f) = f - f^2 / 2 + f^3 * polynomial(f), 1 + f in [sqrt(1/2), sqrt(2)], relative error 6e-9
_LOG = (0.3333333134651184, -0.250008225440979, 0.20001220703125, -0.16623325645923615, 0.1420188695192337,
        -0.13160647451877594, 0.1276082992553711, -0.07632208615541458)
# bits of sqrt(1/2); 2^23, which brings subnormal numbers among the normal ones
_ROOT_HALF, _SUBNORMALS = 0x3F3504F3, 8388608.0
# (1 - Phi(a))^(1/8), Phi being the normal distribution's, a in [0, 5.6]; error 1.3e-8 of a * polynomial(a)^8
_GELU = (0.9170040488243103, -0.09145814180374146, -0.03192431479692459, -0.0006802764837630093, 0.0015137317823246121,
         2.8512096832855605e-05, -5.828572466270998e-05, 7.132590326364152e-06, -2.7139290637023805e-07)
_GELU_END = 5.6
# 2^f, |f| <= 1/2, relative error 1.2e-7
_EXP2 = (1.0000001192092896, 0.6931472420692444, 0.240219846367836, 0.055502768605947495, 0.009680688381195068,
         0.0013415691209957004)


def exp(x: Any) -> Any:
    """2^n * exp(r), n = floor(x * log2(e)), r = x - n * ln 2 in [0, ln 2].

    That n is at most 127 wherever the result is finite, so that 2^n is made of bits. inf from 88.7228394 on, 0 below
    -87.3365479 or where the subnormals end.
    """
    steps = Steps()
    x = steps.bind(x)
    x = steps.bind(limited(x < -88.0, -88.0, x))
    x = steps.bind(_at_most(x, 89.0))
    growth, power = _exp(steps, x, 1, _EXP_ABOVE, _DOWN)
    return steps.result((growth + 1.0) * power)


def sigmoid(x: Any, constant: Constant = float) -> Any:
    """1 / (1 + exp(-x)), x in [-88.37, 88]; 0 below.

    There n is 128 and the power inf, with -89 for x, where expm1(r) is positive: inf - inf does not arise. constant:
    what stands for a number.
    """
    steps = Steps()
    x = steps.bind(x)
    x = steps.bind(_at_most(x, constant(88.0)))
    x = steps.bind(limited(x < constant(-88.37), constant(-89.0), x))
    return steps.result(constant(1.0) / _one_and_exp(steps, x, -1, constant))


def tanh(x: Any) -> Any:
    """x + x * x^2 * polynomial(x^2) up to x = 0.55, from there 1 - 2 / (exp(2x) + 1); of |x|, with the sign of x.

    |x| is limited to 10: from 9.01 on the result rounds to 1.
    """
    steps = Steps()
    x = steps.bind(x)
    square = steps.bind(x * x)
    magnitude = steps.bind(absolute(x))
    inner = magnitude * (square * polynomial(square, _TANH)) + magnitude
    outer = 1.0 - 2.0 / _one_and_exp(steps, steps.bind(_at_most(magnitude, 10.0)), 2)
    return steps.result(with_sign(_split(magnitude, 0.55, inner, outer), x))


def erf(x: Any) -> Any:
    """x + x * polynomial(x^2) up to x = 1.2, from there 1 - polynomial(x)^8; of |x|, with the sign of x."""
    steps = Steps()
    x = steps.bind(x)
    square = steps.bind(x * x)
    magnitude = steps.bind(absolute(x))
    inner = magnitude * polynomial(square, _ERF_INNER) + magnitude
    root = steps.bind(polynomial(steps.bind(_at_most(magnitude, 3.95)), _ERF_OUTER))
    root = steps.bind(root * root)
    root = steps.bind(root * root)
    return steps.result(with_sign(_split(magnitude, 1.2, inner, 1.0 - root * root), x))


def gelu(x: Any, constant: Constant = float) -> Any:
    """x Phi(x) = max(x, 0) - a (1 - Phi(a)), a = |x|: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016).

    a is limited to 5.6, from where on the second term is below 7e-8. constant: what stands for a number.
    """
    tvm = import_tvm()
    steps = Steps()
    x = steps.bind(x)
    magnitude = steps.bind(_at_most(steps.bind(absolute(x)), constant(_GELU_END)))
    root = steps.bind(polynomial(magnitude, [constant(c) for c in _GELU]))
    root = steps.bind(root * root)
    root = steps.bind(root * root)
    return steps.result(tvm.tirx.Max(x, tvm.tirx.const(0.0, x.ty)) - magnitude * (root * root))


def silu(x: Any, constant: Constant = float) -> Any:
    """x / (1 + exp(-x)): Elfwing, Uchibe and Doya, "Sigmoid-Weighted Linear Units" (2017). exp(-x) = 2^n * 2^f.

    x is at least -87, from where on the result is above -2e-36, and in the exponent at most 87. constant: what stands
    for a number.
    """
    tvm = import_tvm()
    steps = Steps()
    x = steps.bind(x)
    least, biased, scale = constant(-87.0), constant(_ROUND + _EXPONENT_BIAS), constant(-_LOG2_E)
    x = steps.bind(limited(x < least, least, x))
    bounded = steps.bind(_at_most(x, constant(87.0)))
    rounded = steps.bind(bounded * scale + biased)
    # in this order NEON has one instruction for it
    power = polynomial(steps.bind((biased - rounded) + bounded * scale), [constant(c) for c in _EXP2])
    whole = tvm.tirx.reinterpret(x.ty, tvm.tirx.reinterpret(_integers(x), rounded) << _MANTISSA_BITS)
    return steps.result(x / (power * whole + constant(1.0)))


def exp2_down(x: Any, constant: Constant = float) -> Any:
    """2^x for x <= 0: 2^n * 2^f, n = round(x). At least 2^-64, nothing beside a softmax's largest, 1: a masked key's
    weight times a value, which may be all that a sum has so far, should not be subnormal. One such multiply-add costs
    an Intel core more than a hundred cycles. constant: what stands for a number."""
    tvm = import_tvm()
    steps = Steps()
    x = steps.bind(x)
    least, shift = constant(-64.0), constant(_ROUND)
    x = steps.bind(limited(x < least, least, x))
    rounded = steps.bind(x + shift)
    power = polynomial(steps.bind(x - (rounded - shift)), [constant(c) for c in _EXP2])
    exponent = tvm.tirx.reinterpret(_integers(x), rounded) << _MANTISSA_BITS
    return steps.result(tvm.tirx.reinterpret(x.ty, tvm.tirx.reinterpret(_integers(x), power) + exponent))


def log(x: Any) -> Any:
    """n * ln 2 + log(1 + f), 1 + f = x / 2^n in [sqrt(1/2), sqrt(2)]. Of a subnormal x it may be -inf."""
    steps = Steps()
    x = steps.bind(x)
    tvm = import_tvm()
    n, f = split_power(steps, steps.bind(tvm.tirx.Select(x < 2.0**-126, x * _SUBNORMALS, x)))
    n = steps.bind(tvm.tirx.Select(x < 2.0**-126, n - float(_MANTISSA_BITS), n))
    return steps.result(_log_ends(x, _log(steps, n, steps.bind(f))))


def log1p(x: Any) -> Any:
    """log(1 + x), with what the sum rounds off added to f."""
    steps = Steps()
    x = steps.bind(x)
    tvm = import_tvm()
    whole = steps.bind(x + 1.0)
    rest = tvm.tirx.Select(x < 1.0, x - (whole - 1.0), 1.0 - (whole - x))
    # from 2^25 on the sum is x; the power of two below would have no bits for its exponent
    rest = steps.bind(tvm.tirx.Select(x < 2.0**25, rest, rest * 0.0))
    n, f = split_power(steps, whole)
    exponent = steps.bind(tvm.tirx.Select(x < 2.0**25, n, n * 0.0))
    inverse = tvm.tirx.reinterpret(_integers(x), _ROUND + _EXPONENT_BIAS - exponent) << _MANTISSA_BITS
    f = steps.bind(f + rest * tvm.tirx.reinterpret(x.ty, inverse))
    # so near zero that 1 + x is 1 the result is x, with its sign
    value = tvm.tirx.Select(absolute(x) < 2.0**-24, x, _log(steps, n, f))
    return steps.result(_log_ends(whole, value))


def absolute(x: Any) -> Any:
    """The sign bit cleared."""
    tvm = import_tvm()
    return tvm.tirx.reinterpret(x.ty, tvm.tirx.reinterpret(_integers(x), x) & _MAGNITUDE)


def split_power(steps: Steps, x: Any) -> tuple[Any, Any]:
    """n and f: x = 2^n * (1 + f), n a whole number as a float."""
    tvm = import_tvm()
    bits = steps.bind(tvm.tirx.reinterpret(_integers(x), x))
    n = steps.bind((bits - _ROOT_HALF) >> _MANTISSA_BITS)
    mantissa = steps.bind(tvm.tirx.reinterpret(x.ty, bits - (n << _MANTISSA_BITS)))
    return steps.bind(tvm.tirx.Cast(x.ty, n)), mantissa - 1.0


def _log(steps: Steps, n: Any, f: Any) -> Any:
    square = steps.bind(f * f)
    inner = square * f * polynomial(f, _LOG) + n * _LN2_LOW - square * 0.5
    return n * _LN2_HIGH + (f + inner)


def _log_ends(x: Any, value: Any) -> Any:
    """x: what the logarithm is taken of."""
    tvm = import_tvm()
    value = tvm.tirx.Select(x < float("inf"), value, x)  # inf and NaN
    value = limited(x < 0.0, float("nan"), value)
    return limited(x == 0.0, float("-inf"), value)


class Steps:
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


def _one_and_exp(steps: Steps, x: Any, factor: int, constant: Constant = float) -> Any:
    """1 + exp(factor * x) = (2^n * expm1(r) + 1) + 2^n, r in [-ln 2 / 2, ln 2 / 2]: no 1 is lost beside a large 2^n."""
    growth, power = _exp(steps, x, factor, _EXP_AROUND, _NEAREST, constant)
    return (growth * power + constant(1.0)) + power


def _exp(steps: Steps, x: Any, factor: int, coefficients: Sequence[float], shift: float,
         constant: Constant = float) -> tuple[Any, Any]:
    """expm1(r) and 2^n: factor * x = n * ln 2 + r, n = round(factor * x * log2(e) + shift) in [-127, 128].

    The factor, a power of two or its negative, goes into the constants. For -127 and 128 the power is 0 and inf.
    """
    tvm = import_tvm()
    biased, scale = constant(_ROUND + _EXPONENT_BIAS), constant(factor * _LOG2_E)
    rounded = steps.bind(x * scale + biased if shift == _NEAREST else x * scale + shift + biased)
    n = steps.bind(rounded - biased)
    r = steps.bind(x - n * constant(_LN2_HIGH / factor) - n * constant(_LN2_LOW / factor))
    bits = tvm.tirx.reinterpret(_integers(x), rounded) << _MANTISSA_BITS
    growth = r * polynomial(r, [constant(c * factor ** (i + 1)) for i, c in enumerate(coefficients)])
    return growth, steps.bind(tvm.tirx.reinterpret(x.ty, bits))


def polynomial(x: Any, coefficients: Sequence[Any]) -> Any:
    """Horner's rule; lowest power first."""
    *rest, value = coefficients
    for c in reversed(rest):
        value = value * x + c
    return value


def _at_most(x: Any, high: Any) -> Any:
    """NaN stays."""
    return limited(x > high, high, x)


def limited(beyond: Any, limit: Any, x: Any) -> Any:
    """x, or limit where the comparison, false for NaN, says so."""
    tvm = import_tvm()
    return tvm.tirx.Select(beyond, tvm.tirx.const(limit, x.ty) if isinstance(limit, float) else limit, x)


def _split(magnitude: Any, at: float, inner: Any, outer: Any) -> Any:
    """outer for NaN."""
    return import_tvm().tirx.Select(magnitude < at, inner, outer)


def with_sign(magnitude: Any, x: Any) -> Any:
    """magnitude: not negative."""
    tvm = import_tvm()
    sign = tvm.tirx.reinterpret(_integers(x), x) & _SIGN
    return tvm.tirx.reinterpret(x.ty, tvm.tirx.reinterpret(_integers(x), magnitude) | sign)


def _integers(x: Any) -> Any:
    """int32 with as many lanes as x."""
    tvm = import_tvm()
    return tvm.ir.PrimType(str(x.ty.dtype).replace("float32", "int32"))
