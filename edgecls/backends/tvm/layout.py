"""Step 2, layout: activations keep ONNX's NCHW; constants take the form in which kernels read them, now.

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


def set_layouts(module: Any) -> Any:
    """IRModule -> IRModule with the known operators on constants replaced by their value."""
    from tvm import relax

    @relax.expr_functor.mutator
    class Folder(relax.PyExprMutator):  # type: ignore[misc, unused-ignore]
        def visit_call_(self, call: Any) -> Any:
            call = self.visit_expr_post_order(call)
            if getattr(call.op, "name", "") == "relax.nn.conv2d":
                return self._pack(call)
            fold = _FOLDS.get(getattr(call.op, "name", ""))
            if fold is None:
                return call
            arrays = [self._value(a) for a in call.args]
            tensors = [a for a, given in zip(arrays, call.args, strict=True) if not _is_shape(given)]
            if any(a is None for a in tensors):
                return call
            return relax.const(np.asarray(fold(call, arrays), order="C"), str(call.ty.dtype))

        def _pack(self, call: Any) -> Any:
            a, weight = call.attrs, self._value(call.args[1])
            if weight is None or int(a.groups) != 1 or a.kernel_layout != "OIHW":
                return call
            packed = relax.const(np.ascontiguousarray(weight.transpose(1, 2, 3, 0)))
            return relax.op.nn.conv2d(call.args[0], packed, strides=list(a.strides), padding=list(a.padding),
                                      dilation=list(a.dilation), groups=1, data_layout=a.data_layout,
                                      kernel_layout="IHWO", out_layout=a.out_layout)

        def _value(self, argument: Any) -> Array | None:
            bound = self.lookup_binding(argument) if isinstance(argument, relax.Var) else argument
            data: Any = getattr(bound, "value", None)
            array: Array | None = data.numpy() if hasattr(data, "numpy") else None
            return array

    def _is_shape(argument: Any) -> bool:
        return isinstance(argument, relax.ShapeExpr)

    folded = Folder(module).visit_expr(module["main"])
    module = type(module)(dict(module.functions.items()), attrs=module.attrs)
    module["main"] = folded
    return module
