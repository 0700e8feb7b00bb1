"""Groups -> a Relax module whose convolutional part calls own kernels on flat blocked tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np

from edgecls.backends.tvm.blocked.algorithm import choose, copy_us
from edgecls.backends.tvm.blocked.compose import compose_channels
from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.families import FAMILIES, convert
from edgecls.backends.tvm.blocked.families.family import Plan
from edgecls.backends.tvm.blocked.form import Form
from edgecls.backends.tvm.blocked.graph import read_graph
from edgecls.backends.tvm.blocked.groups import Group, group, last_readers
from edgecls.backends.tvm.blocked.multiply import assembly_of
from edgecls.backends.tvm.blocked.node import PLAIN, SUMS, Graph, Shape
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.backends.tvm.blocked.window import Window
from edgecls.backends.tvm.options import CompileOptions
from edgecls.backends.tvm.schedule import Decision, Workload
from edgecls.backends.tvm.weights import WeightStore, without_subnormals
from edgecls.types import Array, Target


@dataclass
class Rewritten:
    """module: Relax; own kernels are calls of external functions. owner: variable -> ONNX nodes. functions, workloads,
    decisions: of own kernels, by name. errors: measured, of layers, by their ONNX nodes."""

    module: Any
    functions: dict[str, Any] = field(default_factory=dict)
    owner: dict[str, tuple[str, ...]] = field(default_factory=dict)
    workloads: dict[str, Workload] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    errors: dict[tuple[str, ...], float] = field(default_factory=dict)


def rewrite(module: Any, owner: dict[str, str], target: Target, options: CompileOptions, store: WeightStore,
            batches: Sequence[Fraction] = (Fraction(1),)) -> Rewritten:
    """module: Relax operators on NCHW tensors with constants folded; one without convolutions and products is returned
    as it is. batches: of the bundle, as multiples of the module's.

    Packed weights go to `store` at once; the rewritten module has their offsets in their place.
    """
    graph = compose_channels(read_graph(module))
    groups = group(graph)
    if not any(g.anchor.kind in (*SUMS, "matmul") for g in groups):
        return Rewritten(module, owner={k: (v,) for k, v in owner.items()})
    rewriter = _Rewriter(graph, owner, target, store)
    rewriter.keep(module)
    convolutions = [g for g in groups if g.anchor.kind == "convolution"]
    shapes = [rewriter.geometry(g) for g in convolutions]
    decisions = choose(shapes, target, options, batches)
    rewriter.planned = {g.result: (*shape, d) for g, shape, d in zip(convolutions, shapes, decisions, strict=True)}
    return rewriter.run(groups)


class _Rewriter:
    def __init__(self, graph: Graph, owner: dict[str, str], target: Target, store: WeightStore) -> None:
        from tvm import relax

        self.graph, self.names, self.target, self.store = graph, owner, target, store
        self.cpu = target.cpu
        self.lanes = target.cpu.vector_bits // 32
        self.builder = relax.BlockBuilder()
        self.originals: dict[Any, Any] = {}
        self.blocked: dict[Any, Any] = {}
        self.done = Rewritten(None)
        self.kernels: dict[Any, str] = {}
        self.planned: dict[Any, tuple[Window, Array, Decision]] = {}
        self.flattened = _flattened(graph)
        self.images: dict[Any, tuple[int, int, int, int]] = {}
        self.last_reader: dict[Any, Any] = {}

    def run(self, groups: list[Group]) -> Rewritten:
        from tvm import relax

        self.last_reader = last_readers(groups, self.graph)
        parameters = [relax.Var(p.name, p.ty) for p in self.graph.parameters]
        self.originals.update(zip(self.graph.parameters, parameters, strict=True))
        with self.builder.function("main", parameters):
            with self.builder.dataflow():
                for found in groups:
                    if found.anchor.kind == "matmul":
                        self._call_plain(found)
                    elif found.anchor.kind in PLAIN:
                        self._copy(found)
                    elif found.anchor.kind == "view":
                        self._view(found)
                    elif found.anchor.kind == "moved":
                        continue
                    else:
                        self._call(found)
                output = self.builder.emit_output(self._replaced(self.graph.result))
            self.builder.emit_func_output(output)
        self.done.module = self.builder.finalize()
        return self.done

    def keep(self, module: Any) -> None:
        """The kernels that the importer made are called by what stays as it is."""
        for variable, function in module.functions.items():
            if variable.name_hint != "main":
                self.builder.update_func(variable, function)

    def geometry(self, found: Group) -> tuple[Window, Array]:
        """Window and OIHW weights; a dense layer after flattening is a convolution whose window is the image."""
        node = found.anchor
        assert node.window is not None and node.weights is not None
        data, shape = node.inputs[0], node.weights.shape
        source = self.flattened.get(data)
        if source is None:
            return node.window, node.weights
        n, c, h, w = _image_of(self.graph.shapes[source])
        return (msgspec.structs.replace(node.window, n=n, ci=c, h=h, w=w, kernel=(h, w)),
                node.weights.reshape(shape[0], c, h, w))

    def chosen(self, found: Group) -> tuple[Window, Array, Decision]:
        return self.planned[found.result]

    # ---- calls

    def _view(self, found: Group) -> None:
        node = found.anchor
        self.blocked[node.variable] = self.block(node.inputs[0])
        self.images[node.variable] = self.image(node.inputs[0])

    def _call(self, found: Group) -> None:
        """Emit one call; groups that need the same code share a kernel."""
        plan = FAMILIES[found.anchor.kind](found, self)
        n, c, h, w = self.image(found.result)
        epilogue = Epilogue.of(found.expression, self._blocks(c), found.anchor.kind in SUMS)
        in_place = self._overwritten(found, epilogue) if plan.in_place else ""
        operands = [self.block(given) if not isinstance(given, np.ndarray) else
                    self._channel(given) if spread == "channel" else convert.pack(given, self.lanes)
                    for given, spread in found.others]
        shape = (n * self._blocks(c) * self.lanes * h * w,)
        variable = self._emit_plan(plan, epilogue, operands, shape, found, in_place)
        self.blocked[found.result] = variable
        if found.result not in self.graph.forms:
            self.images[found.result] = (n, c, h, w)

    def _call_plain(self, found: Group) -> None:
        plan = FAMILIES[found.anchor.kind](found, self)
        self.originals[found.result] = self._emit_plan(plan, Epilogue(), [], found.shape, found)

    def call(self, plan: Plan, size: int, found: Group) -> Any:
        return self._emit_plan(plan, Epilogue(), [], (size,), found)

    def _emit_plan(self, plan: Plan, epilogue: Epilogue, operands: list[Any], shape: Shape, found: Group,
                   in_place: str = "") -> Any:
        _, c, h, w = self.image(found.result)
        name = self._kernel(plan.stem, plan.emit, epilogue, (plan.key, in_place), Workload(
            kernel="", family="contraction" if plan.multiply_adds else "elementwise", shapes=(found.shape,),
            spatial=(c, h, w), reduction=(), columns=None, rows=None, flops=2 * plan.multiply_adds), plan.decision,
            in_place)
        own = [without_subnormals(a) if isinstance(a, np.ndarray) else a for a in plan.arguments]
        variable = self._emit_call(name, [*own, *operands], shape,
                                   [*found.anchor.passed, *(m.variable for m in found.members)])
        if plan.decision.error is not None:
            self.done.errors[self.done.owner.get(variable.name, ())] = plan.decision.error
        return variable

    def _overwritten(self, found: Group, epilogue: Epilogue) -> str:
        """The parameter that the result may replace: not read elsewhere in the group, nor by later ones. "" if none."""
        root = self.graph.root
        read = [root(v) for v in (*found.anchor.inputs, *(o for o, _ in found.others))
                if not isinstance(v, np.ndarray)]
        candidates = [(f"operand{o.number}", found.others[o.number][0]) for o in epilogue.operands
                      if o.spread == "full" and not isinstance(found.others[o.number][0], np.ndarray)]
        if found.anchor.kind == "elementwise":
            candidates.append(("data", found.anchor.inputs[0]))
        return next((name for name, v in candidates
                     if read.count(root(v)) == 1 and self.last_reader.get(root(v)) is found), "")

    def _kernel(self, stem: str, emit: Callable[[Simd, Epilogue], Any], epilogue: Epilogue, key: tuple[Any, ...],
                workload: Workload, decision: Decision, in_place: str = "") -> str:
        whole = (stem, key, epilogue)
        if whole not in self.kernels:
            simd = Simd(self.lanes, by_element=self.cpu.arch != "x86_64", in_place=in_place,
                        assembly=assembly_of(self.cpu))
            name = f"{stem}_{len(self.kernels)}"
            self.done.functions[name] = emit(simd, epilogue)
            self.kernels[whole] = name
            self.done.workloads[name] = msgspec.structs.replace(workload, kernel=name)
            self.done.decisions[name] = decision
        return self.kernels[whole]

    def _emit_call(self, kernel: str, arguments: list[Any], shape: Shape, members: list[Any]) -> Any:
        from tvm import relax

        given = [relax.const(self.store.add(a), "int64") if isinstance(a, np.ndarray) else a for a in arguments]
        call = relax.call_dps_packed(kernel, given, out_ty=relax.TensorType(shape, "float32"))
        variable = self.builder.emit(call, name_hint="blocked")
        nodes = tuple(dict.fromkeys(self.names[m.name] for m in members if m.name in self.names))
        if nodes:
            self.done.owner[variable.name] = nodes
        return variable

    # ---- tensors

    def block(self, variable: Any) -> Any:
        """The blocked form of a tensor, converted where it is not there yet."""
        form = self.graph.forms.get(variable)
        if form is not None and form.base != variable:
            return self.block(form.base)
        if variable not in self.blocked:
            n, c, h, w = self.image(variable)
            self.blocked[variable] = self._convert(_order(form, "block"), variable, self._ordered(variable, form),
                                                   (n * self._blocks(c) * self.lanes * h * w,))
        return self.blocked[variable]

    def is_blocked(self, variable: Any) -> bool:
        return variable in self.blocked

    def is_image(self, variable: Any) -> bool:
        return variable not in self.graph.forms

    def plain(self, variable: Any) -> Any:
        """The tensor as the network has it."""
        from tvm import relax

        if variable in self.originals:
            return self.originals[variable]
        if variable in self.graph.constants:
            self.originals[variable] = relax.const(self.graph.constants[variable])
        elif variable in self.blocked:
            form, shape = self.graph.forms.get(variable), self.graph.shapes[variable]
            direct = form is None or form.is_image or form.in_order
            image = self._convert(_order(form, "unblock"), variable, self.blocked[variable],
                                  shape if direct else (math.prod(shape),))
            if form is not None and not direct:
                flat = relax.op.take(image, relax.const(form.index.reshape(-1)), axis=0, mode="clip")
                image = self.builder.emit(relax.op.reshape(flat, shape), name_hint="node")
            self.originals[variable] = image
        elif variable in self.graph.values:
            self.originals[variable] = self.builder.emit(self._replaced(self.graph.values[variable]), name_hint="node")
        else:
            self.originals[variable] = self._picked(self.graph.forms[variable])
        return self.originals[variable]

    def _picked(self, form: Form) -> Any:
        """A tensor that only its form describes, element by element from its base."""
        from tvm import relax

        order = np.argsort(self.graph.forms[form.base].index.reshape(-1)).astype(np.int32)
        flat = self.builder.emit(relax.op.reshape(self.plain(form.base), (order.size,)), name_hint="node")
        places = relax.const(order[form.index])
        return self.builder.emit(relax.op.take(flat, places, axis=0, mode="clip"), name_hint="node")

    def _ordered(self, variable: Any, form: Form | None) -> Any:
        """What TVM computed, in the order in which its form wants it converted."""
        from tvm import relax

        tensor = self.plain(variable)
        if form is None or form.is_image or form.in_order:
            return tensor
        flat = self.builder.emit(relax.op.reshape(tensor, (form.index.size,)), name_hint="node")
        places = relax.const(np.argsort(form.index.reshape(-1)).astype(np.int32))
        return self.builder.emit(relax.op.take(flat, places, axis=0, mode="clip"), name_hint="node")

    def _convert(self, direction: str, variable: Any, tensor: Any, shape: Shape) -> Any:
        n, c, h, w = self.image(variable)
        emit, last, reason = convert.DIRECTIONS[direction]
        size = (n, c, h * w)
        name = self._kernel(direction, lambda simd, _: emit(simd, *size, last), Epilogue(), size, Workload(
            kernel="", family="elementwise", shapes=((n, c, h, w),), spatial=(c, h, w), reduction=(), columns=None,
            rows=None, flops=0), Decision(algorithm="convert", layout=f"NCHW{self.lanes}c", reason=reason,
                                          predicted_us=copy_us(8 * n * c * h * w, self.target)))
        return self._emit_call(name, [tensor], shape, [variable])

    def _channel(self, array: Array) -> Array:
        """One value per channel, padded to whole blocks."""
        values = array.reshape(-1)
        padded = np.zeros(self._blocks(values.size) * self.lanes, np.float32)
        padded[: values.size] = values
        return padded

    def image(self, variable: Any) -> tuple[int, int, int, int]:
        return self.images.get(variable) or self.graph.image(variable)

    def _blocks(self, channels: int) -> int:
        return -(-channels // self.lanes)

    # ---- everything else

    def _copy(self, found: Group) -> None:
        """A binding that stays as it is, on NCHW tensors."""
        variable = self.builder.emit(self._replaced(found.anchor.value), name_hint="node")
        self.originals[found.result] = variable
        if found.result.name in self.names:
            self.done.owner[variable.name] = (self.names[found.result.name],)

    def _replaced(self, value: Any) -> Any:
        from tvm import relax

        if isinstance(value, relax.Var):
            return self.plain(value)
        if isinstance(value, relax.Tuple):
            return relax.Tuple([self._replaced(f) for f in value.fields])
        if isinstance(value, relax.TupleGetItem):
            return relax.TupleGetItem(self._replaced(value.tuple_value), value.index)
        if isinstance(value, relax.Call):
            return relax.Call(value.op, [self._replaced(a) for a in value.args], value.attrs, value.ty_args)
        return value


def _flattened(graph: Graph) -> dict[Any, Any]:
    """(N, C*H*W) views -> the (N, C, H, W) tensor they show."""
    return {n.variable: n.inputs[0] for n in graph.nodes if n.kind == "view"
            and len(n.shape) == 2 and len(graph.shapes[n.inputs[0]]) == 4}


def _order(form: Form | None, direction: str) -> str:
    """Of the tensor outside: channels first, or last."""
    return direction if form is None or not form.in_order or form.is_image else f"{direction}_last"


def _image_of(shape: Shape) -> tuple[int, int, int, int]:
    n, c, h, w = (*shape, 1, 1)[:4]
    return n, c, h, w
