"""The graphs given to TensorRT: one for all batch sizes that differ in nothing but the batch."""

from __future__ import annotations

import re
from typing import NamedTuple

import onnx
from onnx import numpy_helper

from edgecls.backends.onnx_specs import graph_specs
from edgecls.types import OptimizedGraph, TensorSpec

_PLAIN = re.compile(r"[A-Za-z0-9_.:/()+-]{1,200}")
_BATCH = "batch"


class Network(NamedTuple):
    """One ONNX graph and the batch sizes it serves. With several, its first dimension is a symbol and each size gets
    an optimisation profile of its own, in this order; with one, every shape is a number and there is no profile.
    """

    onnx: bytes
    batches: tuple[int, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def profiles(self) -> list[dict[str, list[int]]]:
        """Input name -> shape, for each batch size; none when there is only one."""
        if len(self.batches) == 1:
            return []
        return [{i.name: [batch, *i.shape[1:]] for i in self.inputs} for batch in self.batches]


def networks(graph: OptimizedGraph, *, separate: bool = False) -> list[Network]:
    """Every batch size in exactly one network; inputs and outputs are those of its smallest."""
    models = {batch: _plainly_named(onnx.load_from_string(graph.onnx[batch])) for batch in graph.batches}
    if len(models) > 1 and not separate:
        for model in models.values():
            _free_reshapes(model)
    shared: dict[bytes, list[int]] = {}
    for batch, model in models.items():
        key = b"" if separate else _without_shapes(model)
        shared.setdefault(key or str(batch).encode(), []).append(batch)
    made = []
    for batches in shared.values():
        model = models[batches[0]]
        inputs, outputs = graph_specs(model.graph)
        if len(batches) > 1:
            _open_batch(model, batches[0])
        made.append(Network(model.SerializeToString(deterministic=True), tuple(batches), inputs, outputs))
    return made


def at_batch(network: Network, batch: int) -> bytes:
    """The graph with its batch a number."""
    model = onnx.load_from_string(network.onnx)
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim[:1]:
            if dim.dim_param == _BATCH:
                dim.dim_value = batch
    return bytes(model.SerializeToString(deterministic=True))


def weight_bytes(network: Network) -> int:
    """Of all constants, as the graph stores them."""
    return sum(len(t.raw_data) for t in onnx.load_from_string(network.onnx).graph.initializer)


def _plainly_named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The builder's log names layers by their nodes, between brackets and commas: nodes with names that could be
    mistaken for anything else are called by their operator and place.
    """
    for index, node in enumerate(model.graph.node):
        if not _PLAIN.fullmatch(node.name):
            node.name = f"{node.op_type.lower()}_{index}"
    return model


def _without_shapes(model: onnx.ModelProto) -> bytes:
    """What two batch sizes must have in common to share an engine: everything but declared shapes."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    for value in (*bare.graph.input, *bare.graph.output):
        if value.type.tensor_type.shape.dim:
            del value.type.tensor_type.shape.dim[0]
    return bytes(bare.SerializeToString(deterministic=True))


def _free_reshapes(model: onnx.ModelProto) -> None:
    """A Reshape to a constant shape leaves its first dimension to the number of elements: the same values, and often
    the same constant at every batch size.
    """
    shapes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer
              if t.data_type == onnx.TensorProto.INT64}
    for index, node in enumerate(model.graph.node):
        if node.op_type != "Reshape" or node.domain not in ("", "ai.onnx") or node.input[1] not in shapes:
            continue
        shape = shapes[node.input[1]].copy()
        if shape.ndim != 1 or not shape.size or (shape < 1).any():
            continue  # it already copies a dimension, or leaves one open
        shape[0] = -1
        node.input[1] = f"{node.name or index}/shape"
        model.graph.initializer.append(numpy_helper.from_array(shape, node.input[1]))
    used = {name for node in model.graph.node for name in node.input} | {v.name for v in model.graph.output}
    for index in reversed([i for i, t in enumerate(model.graph.initializer) if t.name not in used]):
        del model.graph.initializer[index]


def _open_batch(model: onnx.ModelProto, batch: int) -> None:
    del model.graph.value_info[:]
    constants = {t.name for t in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and dims and dims[0].dim_value == batch:
            dims[0].dim_param = _BATCH
