"""Step 1, import: ONNX -> Relax, remembering which ONNX node each binding came from."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import TensorProto, shape_inference

from edgecls.backends.tvm.environment import import_tvm
from edgecls.backends.tvm.operators import convert
from edgecls.errors import EdgeclsError, UnsupportedError
from edgecls.types import Unsupported

_DTYPES = {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.INT8, TensorProto.UINT8,
           TensorProto.BOOL}
_Shapes = dict[str, list[tuple[tuple[int, ...], str]]]
_DTYPE_NAMES = ", ".join(sorted(TensorProto.DataType.Name(d) for d in _DTYPES))


@dataclass(frozen=True)
class ImportedModule:
    """relax: IRModule whose `main` takes the network inputs in order. owner: name of a Relax variable -> ONNX node.

    unsupported: nodes that could not be imported (zeros stand in their place: do not compile).
    """

    relax: Any
    owner: dict[str, str]
    unsupported: tuple[Unsupported, ...] = ()


@dataclass
class _Trace:
    owner: dict[str, str] = field(default_factory=dict)
    unsupported: list[Unsupported] = field(default_factory=list)


def import_onnx(model: onnx.ModelProto) -> ImportedModule:
    """model: static shapes, every node named. Raises UnsupportedError when nothing can be imported at all."""
    tvm = import_tvm()
    refused = list(_refused_before_import(model))
    if refused:
        return ImportedModule(relax=None, owner={}, unsupported=tuple(refused))
    trace = _Trace()
    importer = _importer_class()(functools.cache(lambda: _output_shapes(model)), trace)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            module = importer.from_onnx(model.graph, _opset(model))
    except EdgeclsError:
        raise
    except Exception as error:  # the importer raises whatever its converters raise
        if trace.unsupported:
            return ImportedModule(relax=None, owner={}, unsupported=tuple(trace.unsupported))
        raise UnsupportedError(f"the network cannot be imported by TVM: {_first_line(error)}",
                               "run `edgecls check` on the model, or simplify it before exporting") from None
    owner = _with_outputs(module, trace.owner)
    for node, variable in _dynamic_bindings(tvm, module, owner):
        trace.unsupported.append(Unsupported(node=node, op="?", reason=f"the shape of {variable} depends on data"))
    return ImportedModule(relax=module, owner=owner, unsupported=tuple(trace.unsupported))


def _refused_before_import(model: onnx.ModelProto) -> list[Unsupported]:
    """Nodes that no converter exists for, and tensors of a type the runtime does not carry."""
    from tvm.relax.frontend.onnx import onnx_frontend

    known = set(onnx_frontend._get_convert_map()) | {"Constant"}
    refused = []
    for node in model.graph.node:
        op = f"{node.domain or 'ai.onnx'}.{node.op_type}"
        if node.domain not in ("", "ai.onnx"):
            refused.append(Unsupported(node=node.name, op=op, reason=f"custom domain {node.domain!r}"))
        elif node.op_type not in known:
            refused.append(Unsupported(node=node.name, op=op, reason="TVM's importer has no such operator"))
        elif any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            refused.append(Unsupported(node=node.name, op=op, reason="control flow cannot be planned ahead of time"))
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.elem_type not in _DTYPES:
            kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            refused.append(Unsupported(node=value.name, op="graph", reason=f"{kind} tensors; use {_DTYPE_NAMES}"))
    return refused


def _importer_class() -> type[Any]:
    """TVM's importer, taught to name bindings after nodes and to go on after a node it cannot convert."""
    from tvm import relax
    from tvm.relax.frontend.onnx import onnx_frontend

    class TracingImporter(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc, unused-ignore]
        def __init__(self, shapes: Callable[[], _Shapes], trace: _Trace) -> None:
            super().__init__({}, "float32", sanitize=False)
            self._shapes = shapes
            self._trace = trace
            self._emit = self.bb.emit
            self.bb.emit = self._emit_owned
            self._node = ""

        def _emit_owned(self, expression: Any, name_hint: str = "") -> Any:
            # names of our own: later passes make variables too, and must not meet these
            variable = self._emit(expression, name_hint or "node")
            self._trace.owner[variable.name] = self._node
            return variable

        def _convert_operator(self, op_name: str, inputs: Any, attrs: Any, opset: int) -> Any:
            node = self._node = attrs["tvm_custom"]["name"]
            try:
                value = convert(self._bound, op_name, inputs, attrs)
                value = value if value is not None else super()._convert_operator(op_name, inputs, attrs, opset)
                if isinstance(value, relax.Tuple):
                    return relax.Tuple([self._bound(field) for field in value.fields])
                return self._bound(value)
            except Exception as error:
                self._trace.unsupported.append(
                    Unsupported(node=node, op=f"ai.onnx.{op_name}", reason=_first_line(error)))
                return self._stand_in(node, error)

        def _bound(self, value: Any) -> Any:
            if isinstance(value, relax.Call | relax.TupleGetItem):
                return self.bb.emit(value)
            if isinstance(value, relax.Var):
                self._trace.owner.setdefault(value.name, self._node)
            return value

        def _stand_in(self, node: str, error: Exception) -> Any:
            known = self._shapes().get(node)
            if not known:
                raise error
            values = [self.bb.emit(relax.op.zeros(shape, dtype)) for shape, dtype in known]
            return values[0] if len(values) == 1 else relax.Tuple(values)

    return TracingImporter


def _with_outputs(module: Any, owner: dict[str, str]) -> dict[str, str]:
    """The network's outputs get new variables at the end of `main`: they belong to the node they rename."""
    from tvm import relax

    complete = dict(owner)
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Var) and binding.value.name in complete:
                complete.setdefault(binding.var.name, complete[binding.value.name])
    return complete


def _dynamic_bindings(tvm: Any, module: Any, owner: dict[str, str]) -> list[tuple[str, str]]:
    from tvm import relax

    found = []
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            kind = binding.var.ty
            if isinstance(kind, relax.TensorType) and (
                    kind.shape is None or not all(isinstance(d, tvm.tirx.IntImm) for d in kind.shape)):
                found.append((owner.get(binding.var.name, "?"), binding.var.name))
    return found


def _output_shapes(model: onnx.ModelProto) -> _Shapes:
    """Node name -> (shape, dtype) of each output, for the nodes whose outputs are all static."""
    inferred = shape_inference.infer_shapes(model)
    values = {v.name: v.type.tensor_type for v in [*inferred.graph.value_info, *inferred.graph.output]}
    shapes = {}
    for node in inferred.graph.node:
        outputs = [values.get(o) for o in node.output]
        if all(o is not None and all(d.HasField("dim_value") for d in o.shape.dim) for o in outputs):
            shapes[node.name] = [
                (tuple(d.dim_value for d in o.shape.dim), onnx.helper.tensor_dtype_to_np_dtype(o.elem_type).name)
                for o in outputs if o is not None and math.prod(d.dim_value for d in o.shape.dim) < 1 << 28]
    return shapes


def _opset(model: onnx.ModelProto) -> int:
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line or "heck failed" in line), lines[-1])[:300]
