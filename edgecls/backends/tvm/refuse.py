"""What import and legalisation let through, but the runtime cannot carry: found before anyone waits for a compile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edgecls.backends.tvm.fuse import bindings
from edgecls.errors import UnsupportedError
from edgecls.types import TensorSpec, Unsupported

MAX_DIMS = 8  # EC_MAX_DIMS of ec_model.h
_DTYPES = {"float32", "int8", "uint8", "int16", "int32", "int64", "bool"}
_UNCHECKED_INDICES = {"relax.gather_elements", "relax.gather_nd", "relax.scatter_elements", "relax.scatter_nd"}


def cannot_be_legalised(module: Any, owner: dict[str, tuple[str, ...]]) -> list[Unsupported]:
    """Operators whose indices come from the network's input: TVM's code would read or write wherever they point. And
    powers of whole numbers, which it has no code for.

    module: Relax operators with constants folded. Indices that are constants were run by ONNX Runtime already.
    """
    from tvm import relax

    tainted = set(module["main"].params)
    found = []
    for binding in bindings(module):
        value = binding.value
        if isinstance(value, relax.Call):
            if value.op.name == "relax.power" and not str(binding.var.ty.dtype).startswith("float"):
                found.append(Unsupported(node=owner.get(binding.var.name, ("?",))[0], op=value.op.name,
                                         reason="TVM has no power of whole numbers: cast to float32 before it"))
            if value.op.name in _UNCHECKED_INDICES and _reads(value.args[1], tainted):
                found.append(Unsupported(node=owner.get(binding.var.name, ("?",))[0], op=value.op.name,
                                         reason="its indices depend on data and would not be checked"))
            if any(_reads(a, tainted) for a in value.args):
                tainted.add(binding.var)
        elif _reads(value, tainted):
            tainted.add(binding.var)
    return found


def cannot_be_carried(module: Any, owner: dict[str, tuple[str, ...]],
                      outputs: tuple[TensorSpec, ...]) -> list[Unsupported]:
    """Operators without TIR, tensors of a type, size or rank the runtime has no place for, outputs of another type
    than the network declares. module: legalised."""
    from tvm import relax
    from tvm.ir import Op

    found = []
    for binding in bindings(module):
        value, node = binding.value, owner.get(binding.var.name, ("?",))[0]
        if isinstance(value, relax.Call) and isinstance(value.op, Op) and value.op.name not in (
                "relax.call_tir", "relax.call_dps_packed", "relax.reshape"):
            found.append(Unsupported(node=node, op=value.op.name, reason="TVM has no CPU code for it"))
            continue
        found += [Unsupported(node=node, op="?", reason=reason) for reason in map(_why_not, _tensors(binding.var.ty))
                  if reason]
    for declared, computed in zip(outputs, _tensors(module["main"].ret_ty), strict=True):
        if str(computed.dtype) != declared.dtype:
            found.append(Unsupported(node=declared.name, op="output",
                                     reason=f"declared {declared.dtype}, but TVM computes {computed.dtype}"))
    return found


def in_onnx_words(found: Sequence[Unsupported], ops: Mapping[str, str]) -> tuple[Unsupported, ...]:
    """With the ONNX operator of each node that the network has, in place of whatever TVM made of it. ops: node ->
    "domain.operator"."""
    return tuple(msgspec.structs.replace(u, op=ops.get(u.node, u.op)) for u in found)


def output_shapes(module: Any) -> list[tuple[int, ...]]:
    """As TVM computes them."""
    return [tuple(int(d) for d in t.shape) for t in _tensors(module["main"].ret_ty)]


def refuse(unsupported: Sequence[Unsupported]) -> None:
    """Raises UnsupportedError that names the first nodes and how many there are; returns when there are none."""
    if not unsupported:
        return
    shown = "; ".join(f"{u.node} ({u.op}): {u.reason}" for u in unsupported[:3])
    more = f" and {len(unsupported) - 3} more" if len(unsupported) > 3 else ""
    raise UnsupportedError(f"the network has nodes that cannot be compiled: {shown}{more}",
                           "see them all with: edgecls check MODEL --target TARGET")


def _why_not(tensor: Any) -> str:
    shape = [int(d) for d in tensor.shape]
    if str(tensor.dtype) not in _DTYPES:
        return f"{tensor.dtype} tensors are not supported; use {', '.join(sorted(_DTYPES))}"
    if any(d < 1 for d in shape):
        return f"an empty tensor {tuple(shape)}"
    if len(shape) > MAX_DIMS:
        return f"a tensor of {len(shape)} dimensions; {MAX_DIMS} are supported"
    return ""


def _tensors(kind: Any) -> list[Any]:
    from tvm import relax

    if isinstance(kind, relax.TupleType):
        return [t for field in kind.fields for t in _tensors(field)]
    return [kind] if isinstance(kind, relax.TensorType) else []


def _reads(value: Any, variables: set[Any]) -> bool:
    from tvm import relax

    if isinstance(value, relax.Tuple):
        return any(_reads(v, variables) for v in value.fields)
    if isinstance(value, relax.TupleGetItem):
        return _reads(value.tuple_value, variables)
    return isinstance(value, relax.Var) and value in variables
