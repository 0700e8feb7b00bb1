"""Step 2, layout, for what the blocked families leave: NCHW activations, constants in the form that kernels read.

Weights of convolutions become input channel, height, width, output channel (IHWO): a vector of output channels is then
contiguous. Transposes and reshapes of other constants happen here in numpy: relax.transform.FoldConstant would compile
a function with LLVM for each, and the importer makes hundreds of small ones (a reshape per bias, a NaN check per clip).
It still folds, later, what is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgecls.types import Array

_Fold = Callable[[Any, list[Any]], Array]


def _dims(shape: Any) -> tuple[int, ...]:
    return tuple(int(d) for d in shape.values)


_FOLDS: dict[str, _Fold] = {
    "relax.reshape": lambda call, a: a[0].reshape(_dims(call.args[1])),
    "relax.broadcast_to": lambda call, a: np.broadcast_to(a[0], _dims(call.args[1])),
    "relax.permute_dims": lambda call, a: np.transpose(
        a[0], None if call.attrs.axes is None else [int(i) for i in call.attrs.axes]),
    "relax.isnan": lambda call, a: np.isnan(a[0]),
    "relax.where": lambda call, a: np.asarray(np.where(a[0], a[1], a[2])),
    "relax.less": lambda call, a: np.less(a[0], a[1]),
}


def fold_constants(module: Any) -> Any:
    """IRModule -> IRModule with the known operators on constants replaced by their value."""
    from tvm import relax

    def fold(mutator: Any, call: Any) -> Any:
        known = _FOLDS.get(getattr(call.op, "name", ""))
        if known is None:
            return call
        arrays = [_value(mutator, a) for a in call.args]
        tensors = [a for a, given in zip(arrays, call.args, strict=True) if not isinstance(given, relax.ShapeExpr)]
        if any(a is None for a in tensors):
            return call
        return relax.const(np.asarray(known(call, arrays), order="C"), str(call.ty.dtype))

    return _visit_calls(module, fold)


def pack_weights(module: Any) -> Any:
    """IRModule -> IRModule whose convolutions read their weights as IHWO."""
    from tvm import relax

    def pack(mutator: Any, call: Any) -> Any:
        if getattr(call.op, "name", "") != "relax.nn.conv2d":
            return call
        a, weight = call.attrs, _value(mutator, call.args[1])
        if weight is None or int(a.groups) != 1 or a.kernel_layout != "OIHW":
            return call
        packed = relax.const(np.ascontiguousarray(weight.transpose(1, 2, 3, 0)))
        return relax.op.nn.conv2d(call.args[0], packed, strides=list(a.strides), padding=list(a.padding),
                                  dilation=list(a.dilation), groups=1, data_layout=a.data_layout,
                                  kernel_layout="IHWO", out_layout=a.out_layout)

    return _visit_calls(module, pack)


def _visit_calls(module: Any, visit: Callable[[Any, Any], Any]) -> Any:
    """Every call of main replaced by visit(mutator, call)."""
    from tvm import relax

    @relax.expr_functor.mutator
    class Visitor(relax.PyExprMutator):  # type: ignore[misc, unused-ignore]
        def visit_call_(self, call: Any) -> Any:
            return visit(self, self.visit_expr_post_order(call))

    visited = Visitor(module).visit_expr(module["main"])
    module = type(module)(dict(module.functions.items()), attrs=module.attrs)
    module["main"] = visited
    return module


def _value(mutator: Any, argument: Any) -> Array | None:
    from tvm import relax

    bound = mutator.lookup_binding(argument) if isinstance(argument, relax.Var) else argument
    data: Any = getattr(bound, "value", None)
    array: Array | None = data.numpy() if hasattr(data, "numpy") else None
    return array
