"""The self-test: inputs that host and device make alike, and what ONNX Runtime answers to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecls.types import Array, TensorSpec

TOLERANCE = 1e-4


def golden_input(spec: TensorSpec) -> Array:
    """The values of ec_model.h's formula, in `spec`'s shape and dtype; float32 in [-1, 1)."""
    with np.errstate(over="ignore"):
        h = np.arange(math.prod(spec.shape), dtype=np.uint32) * np.uint32(2654435761) + np.uint32(1)
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x45D9F3B)
        h ^= h >> np.uint32(16)
    dtype = np.dtype(spec.dtype)
    if dtype == np.float32:
        values = (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    else:
        values = (h & np.uint32(1)).astype(dtype)
    return values.reshape(spec.shape)


def golden_outputs(onnx_model: bytes, inputs: Sequence[TensorSpec]) -> list[Array]:
    """ONNX Runtime's outputs for the golden inputs, in the graph's order, one thread, no graph optimisation."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(onnx_model, options, providers=["CPUExecutionProvider"])
    return [np.asarray(o) for o in session.run(None, {s.name: golden_input(s) for s in inputs})]
