"""x^c for a constant c, and x^y, as arithmetic on vectors.

Of constants small whole powers are products, at most 2 units in the last place off; half powers are the processor's
square root. All others are 2^(y * log2 |x|) in float64, at most 0.51 units off: a float32 logarithm would lose as many
bits as the result's exponent has. What float64 vectors a target does not have, LLVM takes apart. Subnormal results may
be zero. Signs, zeros, infinities and NaN are those of C's pow.
"""

from __future__ import annotations

import math
from typing import Any

from edgecls.backends.tvm.environment import import_tvm
from edgecls.backends.tvm.vector_math import (
    Steps,
    absolute,
    limited,
    polynomial,
    split_power,
    with_sign,
)

# log2((1 + s) / (1 - s)) = s * polynomial(s^2), |s| <= 0.1716, relative error 5e-12
_LOG2 = (2.885390081790168, 0.9617966732476272, 0.5770836018910477, 0.4116717482783198, 0.34074745780410537)
# 2^r - 1 = r * polynomial(r), |r| <= 1/2, error 5e-11 of 2^r
_EXP2 = (0.6931471807045382, 0.2402265106656767, 0.05550410365976988, 0.009618038131296924, 0.0013333935065995397,
         0.00015466756522733227, 1.5196154345728249e-05)
# 1.5 * 2^52, where neighbouring float64 differ by one
_ROUND = 6755399441055744.0
_EXPONENT_BIAS, _MANTISSA_BITS = 1023, 52
# beyond these powers of two every float32 is infinite or zero
_LARGEST, _SMALLEST = 130.0, -152.0
# log2 of infinity and, negative, of zero: large enough for the smallest exponent
_ENDLESS = 1e300
# from here on float32 are even numbers
_EVEN = 2.0**24


def power(x: Any, exponent: float) -> Any:
    """x: TIR expression, float32 or float32xN. exponent: finite. 1/2 is the square root, also of -0 and -inf."""
    tvm = import_tvm()
    steps = Steps()
    x = steps.bind(x)
    size = abs(exponent)
    if size == 0.0:
        return tvm.tirx.const(1.0, x.ty)
    if size == 0.5:
        value = tvm.tirx.sqrt(x)
    elif exponent in (-1, 1, 2, 3, 4):
        square = steps.bind(x * x)
        value = {1: x, 2: square, 3: square * x, 4: square * square}[int(size)]
    else:
        return steps.result(_general(steps, x, exponent))
    return steps.result(value if exponent > 0 else 1.0 / value)


def _general(steps: Steps, x: Any, exponent: float) -> Any:
    """2^t, t = exponent * log2 |x|, and what is beside the range of that."""
    tvm = import_tvm()
    size = steps.bind(absolute(x))
    value = steps.bind(_two_to(steps, _log2(steps, size) * exponent, x.ty))
    if exponent != int(exponent):
        value = limited(x < 0.0, math.nan, value)
    value = limited(size == 0.0, 0.0 if exponent > 0 else math.inf, value)
    value = limited(size == math.inf, math.inf if exponent > 0 else 0.0, value)
    value = steps.bind(tvm.tirx.Select(size >= 0.0, value, x))  # NaN
    return with_sign(value, x) if exponent % 2 == 1 else value


def power_of(x: Any, exponent: Any) -> Any:
    """Both TIR expressions, float32 or float32xN."""
    tvm = import_tvm()
    steps = Steps()
    x, exponent = steps.bind(x), steps.bind(exponent)
    size, magnitude = steps.bind(absolute(x)), steps.bind(absolute(exponent))
    log = _log2(steps, size)
    log = tvm.tirx.Select(size == 0.0, tvm.tirx.const(-_ENDLESS, log.ty), log)
    log = tvm.tirx.Select(size == math.inf, tvm.tirx.const(_ENDLESS, log.ty), log)
    value = _two_to(steps, log * tvm.tirx.Cast(log.ty, exponent), x.ty)
    value = steps.bind(limited(size == 1.0, 1.0, value))  # also for infinite exponents
    # infinities are even; NaN is no whole number that could be had
    numbers = tvm.ir.PrimType(str(x.ty.dtype).replace("float32", "int32"))
    near = steps.bind(tvm.tirx.Select(magnitude < _EVEN, exponent, tvm.tirx.const(_EVEN, x.ty)))
    number = steps.bind(tvm.tirx.Cast(numbers, near))
    signed = tvm.tirx.Select((number & 1) == 1, with_sign(value, x), value)
    broken = tvm.tirx.Select(size < math.inf, limited(x < 0.0, math.nan, value), value)
    value = tvm.tirx.Select(tvm.tirx.Cast(x.ty, number) == near, signed, broken)
    value = tvm.tirx.Select(magnitude >= 0.0, value, exponent)
    value = tvm.tirx.Select(size >= 0.0, value, x)
    return steps.result(limited(x == 1.0, 1.0, limited(magnitude == 0.0, 1.0, value)))


def _log2(steps: Steps, size: Any) -> Any:
    """In float64, of what is positive and finite."""
    tvm = import_tvm()
    wide = tvm.ir.PrimType(str(size.ty.dtype).replace("float32", "float64"))
    n, f = split_power(steps, steps.bind(tvm.tirx.Select(size < 2.0**-126, size * 2.0**23, size)))
    n = tvm.tirx.Select(size < 2.0**-126, n - 23.0, n)
    f = steps.bind(tvm.tirx.Cast(wide, f))
    s = steps.bind(f / (f + 2.0))
    return tvm.tirx.Cast(wide, n) + s * polynomial(steps.bind(s * s), _LOG2)


def _two_to(steps: Steps, t: Any, narrow: Any) -> Any:
    """2^t rounded to float32, the type `narrow`: infinite or zero where that is beyond its range."""
    tvm = import_tvm()
    wide = t.ty
    whole = tvm.ir.PrimType(str(wide.dtype).replace("float64", "int64"))
    t = steps.bind(t)
    t = steps.bind(tvm.tirx.Select(t > _LARGEST, tvm.tirx.const(_LARGEST, wide), t))
    t = steps.bind(tvm.tirx.Select(t < _SMALLEST, tvm.tirx.const(_SMALLEST, wide), t))
    rounded = steps.bind(t + (_ROUND + _EXPONENT_BIAS))
    r = steps.bind(t - (rounded - (_ROUND + _EXPONENT_BIAS)))
    scale = tvm.tirx.reinterpret(wide, tvm.tirx.reinterpret(whole, rounded) << tvm.tirx.const(_MANTISSA_BITS, whole))
    return tvm.tirx.Cast(narrow, (r * polynomial(r, _EXP2) + 1.0) * scale)
