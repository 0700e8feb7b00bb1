"""The value that passes rewrite: an ONNX model whose large tensors are kept apart.

A library that rewrites or runs a model copies it; with 500 MB of weights inside, every step would cost seconds and
gigabytes. So tensors from LARGE bytes on live in `weights` as arrays, and the model declares them as graph inputs:
the same mathematics, and every copy of the model is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgecls.errors import ModelError, first_line
from edgecls.types import Array

LARGE = 64 << 10
_STANDARD = frozenset({"", "ai.onnx"})
_PLAIN = frozenset("biuf")  # numpy kinds; bfloat16, float8 and int4 tensors stay inside the model


class Network:
    """model: ModelProto. weights: large constants by value name; they are also graph inputs of `model`."""

    def __init__(self, model: onnx.ModelProto, weights: dict[str, Array]) -> None:
        self.model = model
        self.weights = weights

    @classmethod
    def parse(cls, data: bytes) -> Network:
        """Read a serialised ModelProto. Raises ModelError when it is none, or keeps tensors in other files."""
        try:
            model = onnx.load_from_string(data)
        except Exception:  # protobuf's own exception type differs between its implementations
            raise ModelError("the network is not a readable ONNX model", "export it again") from None
        if any(isinstance(text, bytes) for text in _texts(model.graph)):  # protobuf's answer to broken UTF-8
            raise ModelError("the network has names that are not text", "export it again")
        return cls(*_split(model))

    @property
    def graph(self) -> onnx.GraphProto:
        return self.model.graph

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The network's real inputs, without the detached weights."""
        return [v for v in self.graph.input if v.name not in self.weights]

    def serialize(self) -> bytes:
        """The whole model as bytes, every constant an initializer. This uses the network up."""
        _keep(self.graph.input, self.inputs)
        for name in list(self.weights):
            array = self.weights.pop(name)
            dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
            self.graph.initializer.add(name=name, data_type=dtype, dims=array.shape, raw_data=array.tobytes())
        return bytes(self.model.SerializeToString(deterministic=True))

    @property
    def opset(self) -> int:
        """Version of the ONNX operators."""
        return max((entry.version for entry in self.model.opset_import if entry.domain in _STANDARD), default=1)

    def names(self) -> set[str]:
        """Everything that is called something, inner graphs included."""
        return {str(text) for text in _texts(self.graph)}

    def remove_nodes(self, indices: set[int]) -> None:
        """Remove the nodes at these positions."""
        for index in sorted(indices, reverse=True):
            del self.graph.node[index]

    def constants(self) -> dict[str, Array]:
        """Every constant by name; the small ones are decoded anew by each call."""
        return {t.name: numpy_helper.to_array(t) for t in self.graph.initializer} | self.weights

    def add_constant(self, name: str, value: Array) -> None:
        """Declare a value as constant; its name must be new, or no longer written by any node."""
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        if _is_large(self.graph.initializer[-1]):
            del self.graph.initializer[-1]
            self.weights[name] = value
            self.graph.input.append(helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))

    def drop_unused_constants(self) -> None:
        """Forget initializers and weights that nothing reads."""
        used = {name for node in self.graph.node for name in reads(node)} | {v.name for v in self.graph.output}
        unused = {n for n in self.weights if n not in used}
        for name in unused:
            del self.weights[name]
        _keep(self.graph.input, [v for v in self.graph.input if v.name not in unused])
        _keep(self.graph.initializer, [t for t in self.graph.initializer if t.name in used])

    def infer_types(self) -> dict[str, onnx.TypeProto]:
        """The type of every value that ONNX shape inference can tell, by name; renews the model's value_info.

        Raises ModelError when nodes and their inputs do not fit together.
        """
        del self.graph.value_info[:]
        try:
            self.model = onnx.shape_inference.infer_shapes(self.model, data_prop=True)
        except Exception as error:  # an exception class of its C++ part
            raise ModelError(f"the network contradicts itself: {first_line(error)}", "export it again") from None
        types = {v.name: v.type for v in (*self.graph.value_info, *self.graph.output, *self.graph.input)}
        for tensor in self.graph.initializer:
            types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        return types


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names of the values a node reads, with those that its inner graphs capture ("" never)."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (name for inner in graph.node for name in reads(inner))
            yield from (value.name for value in graph.output)


def has_subgraph(node: onnx.NodeProto) -> bool:
    """If, Loop, Scan and their like."""
    return any(a.HasField("g") or a.graphs for a in node.attribute)


def is_standard(node: onnx.NodeProto) -> bool:
    """Whether ONNX defines the operator, not somebody's extension of it."""
    return node.domain in _STANDARD


def maps(node: onnx.NodeProto, *operators: str) -> bool:
    """Whether this is one of ONNX's `operators`, from a first input to a first output."""
    return (node.op_type in operators and is_standard(node)
            and bool(node.input and node.input[0] and node.output and node.output[0]))


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The numbers and lists of integers among the attributes that are written down, by name."""
    kinds = onnx.AttributeProto
    values = {a.name: {kinds.INT: a.i, kinds.FLOAT: a.f, kinds.INTS: list(a.ints)}.get(a.type) for a in node.attribute}
    return {name: value for name, value in values.items() if value is not None}


def set_attribute(node: onnx.NodeProto, name: str, value: int | list[int]) -> None:
    """Write an attribute down, in place of what it was."""
    for index in reversed([i for i, a in enumerate(node.attribute) if a.name == name]):
        del node.attribute[index]
    node.attribute.append(helper.make_attribute(name, value))


def unused_name(stem: str, taken: set[str]) -> str:
    """`stem`, or something longer that is not in `taken`; enters it there."""
    while stem in taken:
        stem += "_"
    taken.add(stem)
    return stem


def same_type(a: onnx.TypeProto | None, b: onnx.TypeProto | None) -> bool:
    """Whether both are tensors of the same element type and the same static shape."""
    shape = static_shape(a)
    return (a is not None and b is not None and shape is not None and shape == static_shape(b)
            and a.tensor_type.elem_type == b.tensor_type.elem_type)


def static_shape(kind: onnx.TypeProto | None) -> tuple[int, ...] | None:
    """The shape when every dimension is known, else None."""
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None


def _texts(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            for inner in (attribute.g, *attribute.graphs):
                yield from _texts(inner)
    for field in (graph.input, graph.output, graph.initializer):
        yield from (value.name for value in field)


def _is_large(tensor: onnx.TensorProto) -> bool:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    return dtype.kind in _PLAIN and int(np.prod(tensor.dims, dtype=np.int64)) * dtype.itemsize >= LARGE


def _split(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A small model, and the arrays taken out of it. Clears `model` on the way, to keep one copy of each tensor."""
    weights: dict[str, Array] = {}
    small = []
    graph = model.graph
    constants = {t.name for t in graph.initializer}
    _keep(graph.input, [v for v in graph.input if v.name not in constants])  # up to IR 3, constants are listed too
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(f"the tensor {tensor.name!r} is stored outside the model",
                             "load the network with `edgecls export`, which reads such files")
        try:
            if _is_large(tensor):
                weights[tensor.name] = numpy_helper.to_array(tensor)
                graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
            else:
                numpy_helper.to_array(tensor)
                small.append(tensor)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise ModelError(f"the tensor {tensor.name!r} is damaged: {error}", "export the network again") from None
    _keep(graph.initializer, small)
    # protobuf frees what was cleared only together with the whole message, hence the copy.
    return onnx.ModelProto.FromString(model.SerializeToString()), weights


def _keep(field: Any, items: list[Any]) -> None:
    """Make `items` the whole content of a repeated field."""
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)
