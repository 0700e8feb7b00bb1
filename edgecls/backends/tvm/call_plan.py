"""Step 6a: the fused Relax main, read as plain data: which kernel runs on which buffers, in order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecls.backends.tvm.environment import import_tvm
from edgecls.backends.tvm.fuse import FusedModule, bindings, callee_name
from edgecls.backends.tvm.weights import WeightStore
from edgecls.errors import InternalError, UnsupportedError


@dataclass(frozen=True)
class Argument:
    """A kernel argument's type; bytes without padding."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Weight:
    """offset into the weights, bytes."""

    offset: int


@dataclass(frozen=True)
class Slot:
    """buffer: index into CallPlan.buffers. version: how often a call in place has overwritten it."""

    buffer: int
    version: int = 0


@dataclass(frozen=True)
class Call:
    """kernel: name of the TIR function. places: one per argument, outputs last. nodes: ONNX nodes it computes."""

    kernel: str
    places: tuple[Weight | Slot, ...]
    outputs: int
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Workspace:
    """Scratch memory of a kernel, bytes: of the whole call, and of each thread that takes part in it."""

    once: int = 0
    per_thread: int = 0


@dataclass(frozen=True)
class CallPlan:
    """One batch size. buffers: bytes of each. inputs, outputs: buffer indices in the network's order."""

    batch: int
    calls: tuple[Call, ...]
    arguments: dict[str, tuple[Argument, ...]]
    buffers: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass
class _Reader:
    module: Any
    store: WeightStore
    suffix: str
    own: dict[str, Any]
    buffers: list[int] = field(default_factory=list)
    places: dict[Any, Any] = field(default_factory=dict)  # by variable: names repeat
    gone: set[Slot] = field(default_factory=set)
    arguments: dict[str, tuple[Argument, ...]] = field(default_factory=dict)

    def fresh(self, tensor: Any) -> Slot:
        self.buffers.append(_argument(tensor).bytes)
        return Slot(len(self.buffers) - 1)

    def place(self, value: Any) -> Any:
        from tvm import relax

        if isinstance(value, relax.Var):
            if self.places[value] in self.gone:
                raise InternalError("a tensor is read after it was overwritten", "report this with the model")
            return self.places[value]
        if isinstance(value, relax.TupleGetItem):
            return self.place(value.tuple_value)[value.index]
        if isinstance(value, relax.Tuple):
            return tuple(self.place(v) for v in value.fields)
        return Weight(self.store.add(value.value.numpy()))

    def overwritten(self, place: Slot) -> Slot:
        """The same buffer under a new name: nobody may read it by the old one."""
        self.gone.add(place)
        return Slot(place.buffer, place.version + 1)

    def own_place(self, value: Any) -> Any:
        """Own kernels get the weights' offset instead of the weights."""
        data: Any = getattr(value, "value", None)
        return Weight(int(data.numpy())) if hasattr(data, "numpy") else self.place(value)

    def passed(self, value: Any, place: Any) -> Argument:
        """What a call hands over. The bytes of an own kernel's weights count as float32."""
        if isinstance(place, Weight) and hasattr(value, "value"):
            return Argument((self.store.size(place.offset) // 4,), "float32")
        return _argument(value.ty)

    def call(self, value: Any, nodes: tuple[str, ...]) -> tuple[Call, Any]:
        from tvm import relax

        name = callee_name(value.args[0])
        kernel = name + self.suffix
        given = value.args[1].fields if isinstance(value.args[1], relax.Tuple) else [value.args[1]]
        results = list(value.ty.fields) if isinstance(value.ty, relax.TupleType) else [value.ty]
        own = name in self.own
        inputs = [self.own_place(v) if own else self.place(v) for v in given]
        function = self.own[name] if own else self.module[value.args[0]]
        over = (function.attrs or {}).get("edgecls.in_place")
        outputs = [self.overwritten(inputs[int(over)])] if over is not None else [self.fresh(t) for t in results]
        self.arguments[kernel] = tuple(
            Argument(tuple(int(d) for d in b.shape), str(b.dtype))
            for b in function.params)
        passed = [self.passed(v, p) if own else _argument(v.ty) for v, p in zip(given, inputs, strict=True)]
        passed += [_argument(t) for t in results]
        if not all(_fits(a, p, own) for a, p in zip(self.arguments[kernel], passed, strict=True)):
            raise InternalError(f"kernel {kernel} takes other tensors than the network passes",
                                "report this with the model")
        call = Call(kernel=kernel, places=(*inputs, *outputs), outputs=len(outputs), nodes=nodes)
        return call, outputs[0] if not isinstance(value.ty, relax.TupleType) else tuple(outputs)


def read_plan(fused: FusedModule, batch: int, store: WeightStore, suffix: str = "",
              own: dict[str, Any] | None = None) -> CallPlan:
    """suffix: added to kernel names, to keep batch sizes apart. own: kernels that are not in the module.

    Raises UnsupportedError when an output is a constant, InternalError on a binding no kernel computes."""
    import_tvm()
    from tvm import relax

    main = fused.relax["main"]
    reader = _Reader(fused.relax, store, suffix, own or {})
    for parameter in main.params:
        reader.places[parameter] = reader.fresh(parameter.ty)
    inputs = tuple(reader.places[p].buffer for p in main.params)
    calls: list[Call] = []
    nodes = iter(fused.nodes)
    for binding in bindings(fused.relax):
        variable, value = binding.var, binding.value
        if not isinstance(value, relax.Call):
            reader.places[variable] = reader.place(value)
            continue
        owners = next(nodes)
        if value.op.name == "relax.reshape":
            reader.places[variable] = reader.place(value.args[0])
        elif value.op.name in ("relax.call_tir", "relax.call_dps_packed"):
            call, reader.places[variable] = reader.call(value, owners)
            calls.append(call)
        else:
            raise InternalError(f"{value.op.name} is left after fusion", "report this with the model")
    result = reader.place(main.body.body)
    outputs = result if isinstance(result, tuple) else (result,)
    if not calls:
        raise UnsupportedError("the network computes nothing: its outputs are its inputs", "compile a trained network")
    if not all(isinstance(o, Slot) for o in outputs):
        raise UnsupportedError("an output of the network does not depend on its inputs", "remove that output")
    return CallPlan(batch=batch, calls=tuple(calls), arguments=reader.arguments, buffers=tuple(reader.buffers),
                    inputs=inputs, outputs=tuple(o.buffer for o in outputs))


def _argument(tensor: Any) -> Argument:
    return Argument(tuple(int(d) for d in tensor.shape), str(tensor.dtype))


def _fits(taken: Argument, passed: Argument, flat: bool) -> bool:
    """flat: own kernels see every tensor as one row of numbers."""
    return (taken.bytes, taken.dtype) == (passed.bytes, passed.dtype) if flat else taken == passed
