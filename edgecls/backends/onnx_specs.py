"""Inputs and outputs as an ONNX graph declares them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from edgecls.types import TensorSpec

Specs = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]
"""Inputs and outputs of one batch size."""


def graph_specs(graph: onnx.GraphProto) -> Specs:
    """Of a graph whose shapes are numbers; initializers are no inputs."""
    constants = {t.name for t in graph.initializer}

    def describe(values: Sequence[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(
            name=v.name, dtype=np.dtype(helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)).name,
            shape=tuple(d.dim_value for d in v.type.tensor_type.shape.dim)) for v in values)

    return describe([v for v in graph.input if v.name not in constants]), describe(graph.output)
