"""Step 4, legalise and fuse: Relax operators -> one TIR function per fused group, called in order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.environment import import_tvm
from edgecls.errors import InternalError


@dataclass(frozen=True)
class FusedModule:
    """relax: IRModule with TIR kernels and a `main` of call_tir bindings. nodes: ONNX nodes of each call, in order."""

    relax: Any
    nodes: tuple[tuple[str, ...], ...]


def legalize(module: Any, target: Any) -> Any:
    """Every Relax operator as TIR, constants folded. Returns an IRModule."""
    tvm = import_tvm()
    from tvm import relax

    with target:
        return tvm.transform.Sequential([
            relax.transform.CanonicalizeBindings(),
            relax.transform.FoldConstant(),
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            relax.transform.DeadCodeElimination(),
        ])(module)


def fuse(module: Any, owner: dict[str, tuple[str, ...]], target: Any) -> FusedModule:
    """Group operators (FuseOps), make each group one kernel (FuseTIR)."""
    tvm = import_tvm()
    from tvm import relax

    with target:
        grouped = relax.transform.FuseOps()(module)
        nodes = _nodes_of_groups(module, grouped, owner)
        fused = tvm.transform.Sequential([
            relax.transform.FuseTIR(),
            relax.transform.RewriteDataflowReshape(),
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
        ])(grouped)
    return FusedModule(relax=fused, nodes=nodes)


def bindings(module: Any) -> list[Any]:
    return [binding for block in module["main"].body.blocks for binding in block.bindings]


def callee_name(function: Any) -> str:
    """Of a kernel that the module holds, or of one of edgecls's own."""
    name: str = function.name_hint if hasattr(function, "name_hint") else function.global_symbol
    return name


def _nodes_of_groups(before: Any, after: Any, owner: dict[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Which nodes each call of the grouped main computes.

    FuseOps renames variables and shares equal functions, so groups are found again by replaying them: a call inside
    a group is the earliest unclaimed call before fusion with the same kernel and the same arguments.
    """
    from tvm import relax

    owner = _spread(before, owner)
    unclaimed: dict[tuple[Any, ...], list[Any]] = {}
    alias: dict[Any, Any] = {}
    for binding in bindings(before):
        if isinstance(binding.value, relax.Call):
            unclaimed.setdefault(_signature(binding.value, alias), []).append(binding.var)
        else:
            alias[binding.var] = _resolve(binding.value, alias)
    original: dict[Any, Any] = dict(zip(after["main"].params, before["main"].params, strict=True))
    result = []
    for binding in bindings(after):
        value = binding.value
        if not isinstance(value, relax.Call):
            original[binding.var] = _resolve(value, original)
            continue
        callee = after[value.op] if not hasattr(value.op, "name") and value.op in after.functions else None
        names: list[str] = []
        if isinstance(callee, relax.Function):
            inner = {p: _resolve(a, original) for p, a in zip(callee.params, value.args, strict=True)}
            for block in callee.body.blocks:
                for step in block.bindings:
                    inner[step.var] = _claim(step.value, inner, unclaimed, owner, names)
            original[binding.var] = inner.get(callee.body.body, callee.body.body)
        else:
            original[binding.var] = _claim(value, original, unclaimed, owner, names)
        result.append(tuple(dict.fromkeys(names)))
    return tuple(result)


def _spread(module: Any, owner: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Variables that a pass made belong to the node of the next one that has an owner, the last ones to the last."""
    last: tuple[str, ...] = ()
    complete, waiting = dict(owner), []
    for binding in bindings(module):
        name = binding.var.name
        if name not in owner:
            waiting.append(name)
            continue
        last = owner[name]
        complete.update(dict.fromkeys(waiting, last))
        waiting.clear()
    return complete | dict.fromkeys(waiting, last)


def _claim(value: Any, scope: dict[Any, Any], unclaimed: dict[tuple[Any, ...], list[Any]],
           owner: dict[str, tuple[str, ...]], names: list[str]) -> Any:
    from tvm import relax

    if not isinstance(value, relax.Call):
        return _resolve(value, scope)
    waiting = unclaimed.get(_signature(value, scope), [])
    if not waiting:
        raise InternalError("a fused group computes something that the network does not", "report this with the model")
    variable = waiting.pop(0)
    names.extend(owner[variable.name])
    return variable


def _resolve(value: Any, scope: dict[Any, Any]) -> Any:
    from tvm import relax

    if isinstance(value, relax.TupleGetItem):
        return (_resolve(value.tuple_value, scope), value.index)
    return scope.get(value, value)


def _signature(call: Any, scope: dict[Any, Any]) -> tuple[Any, ...]:
    from tvm import relax

    args = list(call.args)
    kernel = call.op.name if hasattr(call.op, "name") else call.op.name_hint
    if kernel in ("relax.call_tir", "relax.call_dps_packed"):
        kernel, args = callee_name(args[0]), list(args[1].fields) if isinstance(args[1], relax.Tuple) else [args[1]]
    return (kernel, *(_identity(_resolve(a, scope)) for a in args))


def _identity(value: Any) -> Any:
    """Equal for the same variable, element of a tuple, or constant. Names repeat, so objects are told by address."""
    if isinstance(value, tuple):
        return tuple(_identity(v) for v in value)
    if isinstance(value, int):
        return value
    data = getattr(value, "value", None)
    if data is not None and hasattr(data, "numpy"):
        # passes copy small constants but share large ones
        return data.numpy().tobytes() if math.prod(data.shape) <= 16 else hash(data)
    return hash(value)
