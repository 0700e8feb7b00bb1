"""The self-test's answer: what ONNX Runtime says to the inputs that every runtime can make for itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecls.backends.golden import golden_input
from edgecls.oracle import import_onnxruntime
from edgecls.types import Array, TensorSpec

TOLERANCE = 1e-4


def golden_outputs(onnx_model: bytes, inputs: Sequence[TensorSpec]) -> list[Array] | None:
    """float32, in the graph's order; one thread, no graph optimisation.

    None when the network cannot answer these inputs (a division by a zero among them): it then has no self-test.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(onnx_model, options, providers=["CPUExecutionProvider"])
    try:
        outputs = session.run(None, {s.name: golden_input(s) for s in inputs})
    except Exception:  # ONNX Runtime has one class per status and no common one
        return None
    return [np.asarray(o, np.float32) for o in outputs]
