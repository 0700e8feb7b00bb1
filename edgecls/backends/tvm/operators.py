"""ONNX operators that edgecls imports by itself, where TVM's importer hides what they are (Clip as two kernels, Max as
a stack that is reduced, batch normalisation as a tuple) or makes more of them than they need (Mish)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgecls.types import Array


def convert(bind: Callable[[Any], Any], op: str, inputs: Any, attrs: Any) -> Any:
    """The node as Relax, None where TVM's own importer is to do it. bind: gives a value a variable."""
    known = _OPERATORS.get(op)
    return known(bind, inputs, attrs) if known else None


def _clip(bind: Callable[[Any], Any], inputs: Any, attrs: Any) -> Any:
    """With known bounds. None where a bound is computed, or is not a number."""
    from tvm import relax

    bounds = []
    for number, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        given = inputs[number] if number < len(inputs) else None
        data = _constant(given)
        if given is not None and data is None:
            return None
        bounds.append(float(data) if data is not None else float(attrs.get(name, default)))
    if str(inputs[0].ty.dtype) != "float32" or any(map(math.isnan, bounds)):
        return None
    return relax.op.clip(inputs[0], *bounds)


def _pairwise(name: str) -> Callable[..., Any]:
    """Of two inputs and more, of which one at least is computed."""
    def converted(bind: Callable[[Any], Any], inputs: Any, attrs: Any) -> Any:
        from tvm import relax

        if len(inputs) < 2 or all(_constant(i) is not None for i in inputs):
            return None
        return functools.reduce(lambda a, b: bind(getattr(relax.op, name)(a, b)), inputs)

    return converted


def _batch_norm(bind: Callable[[Any], Any], inputs: Any, attrs: Any) -> Any:
    """By stored statistics: one factor and one term per channel."""
    from tvm import relax

    values = [_constant(i) for i in inputs[1:5]]
    if attrs.get("training_mode", 0) or str(inputs[0].ty.dtype) != "float32" or any(v is None for v in values):
        return None
    scale, shift, mean, variance = (np.asarray(v, np.float64) for v in values)
    shape = (-1, *[1] * (len(inputs[0].ty.shape) - 2))
    with np.errstate(all="ignore"):  # a negative variance gives NaN, as it does elsewhere
        factor = scale / np.sqrt(variance + float(attrs.get("epsilon", 1e-5)))
        factors, terms = (v.reshape(shape).astype(np.float32) for v in (factor, shift - mean * factor))
    return relax.op.add(bind(relax.op.multiply(inputs[0], relax.const(factors))), relax.const(terms))


def _mish(bind: Callable[[Any], Any], inputs: Any, attrs: Any) -> Any:
    """x * tanh(log(1 + e^x)) = x * n / (n + 2), n = e^x * (e^x + 2): one polynomial instead of three. From 40 on it is
    x, and n must not overflow."""
    from tvm import relax

    if str(inputs[0].ty.dtype) != "float32":
        return None
    grown = bind(relax.op.exp(bind(relax.op.minimum(inputs[0], relax.const(40.0, "float32")))))
    two = relax.const(2.0, "float32")
    n = bind(relax.op.multiply(grown, bind(relax.op.add(grown, two))))
    return relax.op.multiply(inputs[0], bind(relax.op.divide(n, bind(relax.op.add(n, two)))))


_OPERATORS: dict[str, Callable[..., Any]] = {
    "Clip": _clip, "BatchNormalization": _batch_norm, "Max": _pairwise("maximum"), "Min": _pairwise("minimum"),
    "Sum": _pairwise("add"), "Mish": _mish}


def _constant(value: Any) -> Array | None:
    data: Any = getattr(value, "value", None)
    array: Array | None = data.numpy() if hasattr(data, "numpy") else None
    return array
