"""An ONNX file from anywhere -> a ModelProto with all its weights inside, every size bounded before it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgecls.errors import ModelError
from edgecls.read import read_regular

MAX_BYTES = (1 << 31) - 1  # protobuf's own limit for one message
_EXPORT_AGAIN = "export or copy the model again; edgecls takes .onnx files of up to 2 GiB, weights included"


def read_onnx(path: Path) -> onnx.ModelProto:
    """Parse `path` and bring its external data in. Raises ModelError; runs no checker yet."""
    try:
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}",
                         "check the path; edgecls takes .onnx files of up to 2 GiB, weights included") from None
    if not data:
        raise ModelError(f"{path}: is empty (0 bytes)", _EXPORT_AGAIN)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RuntimeError):
        raise ModelError(f"{path}: is not an ONNX file, or is truncated", _EXPORT_AGAIN) from None
    if not model.ir_version or not model.opset_import or not model.graph.node:
        raise ModelError(f"{path}: is not an ONNX network (no operators in it)", _EXPORT_AGAIN)
    if not _is_text(model):
        raise ModelError(f"{path}: has names that are not UTF-8 text: it is damaged", _EXPORT_AGAIN)
    _bring_in_external_data(model, path)
    return model


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: initializers and attributes, in subgraphs and functions as well."""
    for graph in graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            single = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            for sparse in (*single, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, in subgraphs and functions as well."""
    for graph in graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        for node in function.node:
            yield node
            for graph in _subgraphs(node):
                for inner in graphs(graph):
                    yield from inner.node


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """`graph` and every graph inside its nodes (bodies of If, Loop, Scan)."""
    pending = [graph]
    while pending:
        current = pending.pop()
        yield current
        for node in current.node:
            pending.extend(_subgraphs(node))


def _is_text(message: Any) -> bool:
    """Python gets bytes, not str, for a string that is not UTF-8, and trips over them much later."""
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        for item in (value,) if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value:
            if isinstance(item, bytes) or (field.type == field.TYPE_MESSAGE and not _is_text(item)):
                return False
    return True


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _bring_in_external_data(model: onnx.ModelProto, path: Path) -> None:
    external = [t for t in tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    if not external:
        return
    folder = path.parent.resolve()
    total = model.ByteSize()
    for tensor in external:
        where = {entry.key: entry.value for entry in tensor.external_data}
        file = _external_file(folder, where.get("location", ""), tensor.name, path)
        try:
            offset, size = int(where.get("offset", 0)), file.stat().st_size
            length = int(where["length"]) if "length" in where else size - offset
        except ValueError:
            raise ModelError(f"{path}: the place of weight {tensor.name!r} is not a number", _EXPORT_AGAIN) from None
        if offset < 0 or length < 0 or offset + length > size:
            raise ModelError(f"{path}: weight {tensor.name!r} lies outside {file.name} ({size} bytes)",
                             "copy the model again together with its external data: one of them is truncated")
        total += length
        if total > MAX_BYTES:
            raise ModelError(f"{path}: is larger than 2 GiB with its external data", _EXPORT_AGAIN)
        try:
            with file.open("rb") as stream:
                stream.seek(offset)
                tensor.raw_data = stream.read(length)
        except OSError as error:
            raise ModelError(f"{file}: cannot be read: {error.strerror or error}", "check the file") from None
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _external_file(folder: Path, location: str, tensor: str, model: Path) -> Path:
    """The file in `folder` (symbolic links followed), or ModelError when it is elsewhere or absent."""
    inside = "keep the external data in the model's own folder, named by a relative path"
    parts = Path(location.replace("\\", "/"))
    if not location or "\0" in location or parts.is_absolute() or ".." in parts.parts:
        raise ModelError(f"{model}: weight {tensor!r} asks for external data at {location!r}", inside)
    try:
        file = (folder / parts).resolve()
        found = file.is_file()
    except (OSError, RuntimeError):  # a name too long, a loop of links
        found = False
    if found and not file.is_relative_to(folder):
        raise ModelError(f"{model}: external data {location!r} leads outside the model's folder", inside)
    if not found:
        raise ModelError(f"{model}: its external data {location!r} is missing",
                         f"put the file {location} into {folder}")
    return file
