"""What every graph goes through before it is an ExportedGraph: one opset, known shapes, no noise."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference
import onnx.version_converter

from edgecls.errors import ModelError, first_line
from edgecls.frontend.onnx_read import MAX_BYTES, graphs, nodes, tensors

OPSET = 18
_MAX_ELEMENTS = 1 << 28  # of one input; 1 GiB as float32
MAX_OPSET = 21  # what the oldest supported ONNX Runtime (1.20) runs
BATCH = "batch"
_STANDARD = ("", "ai.onnx")
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")
_SHAPE_HINT = "export the network with a fixed shape, or fix it with onnxruntime.tools.make_dynamic_shape_fixed"


def clean(model: onnx.ModelProto, origin: str, input_size: tuple[int, int] | None = None) -> tuple[str, ...]:
    """Check, convert and fix `model` in place; what the user should know comes back as notes. Raises ModelError.

    Afterwards: opset 18..21, no float64 weights, input shapes static but for the symbol "batch" in front,
    shapes of the outputs inferred, no doc strings, exporter metadata or stale value_info.
    """
    _refuse_float64(model, origin)
    _refuse_unknown_operators(model, origin)
    _complete_outputs(model)
    strip(model)
    notes = [*_convert_opset(model, origin), *_bind_inputs(model, origin, input_size)]
    _refuse_not_finite(model, origin)
    _infer_outputs(model, origin)
    if model.ByteSize() > MAX_BYTES:
        raise ModelError(f"{origin}: is larger than 2 GiB", "edgecls takes networks of up to 2 GiB")
    return tuple(notes)


def strip(model: onnx.ModelProto) -> None:
    """Drop what computes nothing: it bloats the file and changes from machine to machine (stack traces, paths)."""
    model.ClearField("doc_string")
    for holder in (*graphs(model.graph), *nodes(model), *tensors(model), *model.functions):
        holder.ClearField("doc_string")
        del holder.metadata_props[:]
        if isinstance(holder, onnx.GraphProto):
            del holder.value_info[:]
            for value in (*holder.input, *holder.output):
                value.ClearField("doc_string")
                del value.metadata_props[:]


def dims(value: onnx.ValueInfoProto) -> list[int | str | None]:
    """A size, a symbol, or None for each dimension; sizes below 1 count as unknown (TensorFlow writes -1)."""
    shape = value.type.tensor_type.shape
    return [d.dim_value if d.dim_value > 0 else (d.dim_param or None) for d in shape.dim]


def image_layout(value: onnx.ValueInfoProto) -> str | None:
    """"NCHW" or "NHWC" when the tensor looks like images: four dimensions, and one of them holds 1 or 3 channels."""
    shape = dims(value)
    if len(shape) != 4:
        return None
    if shape[1] in (1, 3):
        return "NCHW"
    return "NHWC" if shape[3] in (1, 3) else None


def _refuse_float64(model: onnx.ModelProto, origin: str) -> None:
    hint = "convert the network to float32 before exporting it (PyTorch: model.float())"
    for tensor in tensors(model):  # single numbers are common in exports and are cast before they meet data
        if tensor.data_type == onnx.TensorProto.DOUBLE and any(d != 1 for d in tensor.dims):
            raise ModelError(f"{origin}: weight {tensor.name!r} is float64", hint)
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            raise ModelError(f"{origin}: {value.name!r} is float64", hint)


def _refuse_not_finite(model: onnx.ModelProto, origin: str) -> None:
    """Weights of a training that diverged: every answer would be NaN, and no two runtimes agree on what NaN does.

    Infinities elsewhere are masks and bounds, and a single NaN is a marker: both are ordinary.
    """
    weights = {name for node in nodes(model) if node.op_type in _WEIGHTED for name in node.input}
    for tensor in tensors(model):
        if tensor.data_type not in _FLOATS:
            continue
        try:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32, copy=False)
        except (ValueError, TypeError, OverflowError) as error:
            raise ModelError(f"{origin}: weight {tensor.name!r} is not of the size that it says: {first_line(error)}",
                             "the file is damaged: export or copy it again") from None
        if (values.size > 1 and np.isnan(values).any()) or (tensor.name in weights and not np.isfinite(values).all()):
            raise ModelError(f"{origin}: weight {tensor.name!r} holds NaN or infinity",
                             "export the network from a checkpoint with finite weights: its training has diverged")


def _refuse_unknown_operators(model: onnx.ModelProto, origin: str) -> None:
    """Operators of other domains may pass: the backend that meets them decides."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= opset <= newest:
        raise ModelError(f"{origin}: uses ONNX opset {opset}, this version knows 1..{newest}",
                         f"export the network with opset {OPSET}")
    local = {(f.domain, f.name) for f in model.functions}
    for node in nodes(model):
        if node.domain not in _STANDARD or (node.domain, node.op_type) in local:
            continue
        if not onnx.defs.has(node.op_type, max_inclusive_version=opset):
            raise ModelError(f"{origin}: node {node.name!r}: operator {node.op_type!r} is not in ONNX opset {opset}",
                             f"export the network with standard operators of opset {OPSET}")


def _convert_opset(model: onnx.ModelProto, origin: str) -> list[str]:
    opset = next(e.version for e in model.opset_import if e.domain in _STANDARD)
    _check(model, origin)
    if OPSET <= opset <= MAX_OPSET:
        return []
    try:
        model.CopyFrom(onnx.version_converter.convert_version(model, OPSET))
    except Exception as error:  # the converter raises RuntimeError, ConvertError and pybind's own kinds
        raise ModelError(f"{origin}: cannot be converted from opset {opset} to {OPSET}: {first_line(error)}",
                         f"export the network again with opset {OPSET}") from None
    _check(model, origin)
    return [f"converted from ONNX opset {opset} to {OPSET}"]


def _complete_outputs(model: onnx.ModelProto) -> None:
    """Exporters of scikit-learn and others leave out shapes that the checker insists on and inference knows."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        return
    with contextlib.suppress(Exception):  # the checker words what is wrong
        inferred = onnx.shape_inference.infer_shapes(model).graph.output
        for value, found in zip(model.graph.output, inferred, strict=True):
            value.CopyFrom(found)


def _check(model: onnx.ModelProto, origin: str) -> None:
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, and what its C++ side raises for absurd protobufs
        raise ModelError(f"{origin}: is not valid ONNX: {first_line(error)}",
                         "export the model again, or copy it again if it came over a network") from None


def _bind_inputs(model: onnx.ModelProto, origin: str, input_size: tuple[int, int] | None) -> list[str]:
    weights = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in weights]
    if not inputs or not model.graph.output:
        raise ModelError(f"{origin}: has no {'output' if inputs else 'input'}",
                         "give a network that takes an image or a tensor and answers with one")
    del model.graph.input[:]  # before IR version 4 weights were listed as inputs, too, and had to be
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, onnx.helper.find_min_ir_version_for(model.opset_import, True))
    for value in model.graph.input:
        _bind_input(value, origin, input_size)
    if input_size and not any(image_layout(v) for v in model.graph.input):
        raise ModelError(f"{origin}: --input-size was given, but no input is an image",
                         "leave --input-size out")
    batched = [v.name for v in model.graph.input if BATCH in dims(v)]
    return [f"the batch of {', '.join(batched)} is open: compiling binds it to what --batch says, 1 unless given"
            ] if batched else []


def _bind_input(value: onnx.ValueInfoProto, origin: str, input_size: tuple[int, int] | None) -> None:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise ModelError(f"{origin}: input {value.name!r} has no known rank", _SHAPE_HINT)
    shape = value.type.tensor_type.shape
    if shape.dim and not isinstance(dims(value)[0], int):
        shape.dim[0].dim_param = BATCH
    layout = image_layout(value)
    spatial = {"NCHW": (2, 3), "NHWC": (1, 2), None: ()}[layout]
    for axis, size in zip(spatial, input_size or (), strict=False):
        if isinstance(dims(value)[axis], int) and shape.dim[axis].dim_value != size:
            height, width = (shape.dim[a].dim_value for a in spatial)
            raise ModelError(f"{origin}: input {value.name!r} takes {height}x{width} pixels, not {size}",
                             "leave --input-size out, or export the network itself in another size")
        shape.dim[axis].dim_value = size
    for axis, dim in enumerate(dims(value)):
        if isinstance(dim, int) or (axis == 0 and dim == BATCH):
            continue
        hint = "fix it with: edgecls export ... --input-size N (or HxW)" if axis in spatial else _SHAPE_HINT
        empty = shape.dim[axis].HasField("dim_value") and shape.dim[axis].dim_value == 0
        what = "has size 0" if empty else f"({dim or '?'}) is dynamic"
        raise ModelError(f"{origin}: input {value.name!r}: dimension {axis} {what}", hint)
    sizes = [dim for dim in dims(value) if isinstance(dim, int)]
    if math.prod(sizes) > _MAX_ELEMENTS:
        raise ModelError(f"{origin}: input {value.name!r} has the shape {dims(value)}, more than {_MAX_ELEMENTS:,} "
                         "elements", "export the network in the size it is used in")


def _infer_outputs(model: onnx.ModelProto, origin: str) -> None:
    """Inference from the bound inputs replaces declared output shapes, which may be stale or hold foreign symbols."""
    declared = [dims(v) for v in model.graph.output]
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # InferenceError, and what its C++ side raises
        raise ModelError(f"{origin}: its shapes do not fit together: {first_line(error)}",
                         "check the input size, or export the model again") from None
    for value in inferred.graph.value_info:  # empty vectors are ordinary (no roi, no scales), empty maps are not
        sizes = value.type.tensor_type.shape.dim
        if len(sizes) > 2 and any(d.HasField("dim_value") and d.dim_value < 1 for d in sizes):
            raise ModelError(f"{origin}: nothing is left of {value.name!r}: the input is too small for the network",
                             "give a larger --input-size, or export the network in a larger size")
    for value, old, found in zip(model.graph.output, declared, inferred.graph.output, strict=True):
        if not value.type.HasField("tensor_type"):
            continue
        value.type.tensor_type.shape.SetInParent()  # ONNX wants a shape even where nothing can be inferred
        new = dims(found) or [None] * len(old)
        for axis, dim in enumerate(new):
            before = old[axis] if len(old) == len(new) else None
            size = dim if isinstance(dim, int) else before
            added = value.type.tensor_type.shape.dim.add()
            if isinstance(size, int):
                added.dim_value = size
            elif axis == 0:
                added.dim_param = BATCH
