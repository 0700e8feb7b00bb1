"""What TVM would call a library for, as arithmetic on vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgecls.backends.tvm import vector_math
from edgecls.backends.tvm.environment import import_tvm
from edgecls.backends.tvm.vector_power import power, power_of

_FUNCTIONS = ("exp", "sigmoid", "tanh", "erf", "log", "log1p")


def replace_math(function: Any) -> Any:
    """PrimFunc -> PrimFunc in which float32 calls of these functions, and powers, are the arithmetic of vector_math.py
    and vector_power.py. Others stay."""
    tvm = import_tvm()
    import tvm_ffi

    own: dict[Any, Callable[[Any], Any]] = {
        tvm.ir.Op.get(f"tirx.{name}"): getattr(vector_math, name) for name in _FUNCTIONS}
    pow_op = tvm.ir.Op.get("tirx.pow")

    def replace(call: Any) -> Any:
        if not str(getattr(call.ty, "dtype", "")).startswith("float32"):
            return call
        if call.op == pow_op:
            x, exponent = call.args
            return power(x, float(exponent.value)) if isinstance(exponent, tvm.tirx.FloatImm) else power_of(x, exponent)
        return own[call.op](call.args[0]) if call.op in own else call

    return function.with_body(tvm_ffi.structural_map(function.body, [(tvm.ir.Call, replace)], order="post"))
