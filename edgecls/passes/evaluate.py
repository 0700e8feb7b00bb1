"""ONNX Runtime, as the judge of what a graph computes. Its own graph optimisations are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgecls.errors import ModelError, first_line
from edgecls.half_rounding import spell_out_rounding
from edgecls.oracle import import_onnxruntime
from edgecls.passes.network import Network, reads
from edgecls.types import Array


def run(network: Network, feed: Mapping[str, Array]) -> dict[str, Array]:
    """Every output by name. Raises ModelError when ONNX Runtime cannot run the network."""
    return _run(network.model, {**feed, **network.weights})


def evaluate(network: Network, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> dict[str, Array]:
    """Values of `outputs`, which `nodes` compute from constants alone."""
    if not outputs:
        return {}
    used = {name for node in nodes for name in reads(node)}
    weights = {name: array for name, array in network.weights.items() if name in used}
    graph = helper.make_graph(
        nodes, "constants",
        [v for v in network.graph.input if v.name in weights],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [t for t in network.graph.initializer if t.name in used])
    model = helper.make_model(graph, opset_imports=network.model.opset_import, ir_version=network.model.ir_version)
    return _run(model, weights)


def _run(model: onnx.ModelProto, feed: dict[str, Array]) -> dict[str, Array]:
    ort = import_onnxruntime()

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session: Any = ort.InferenceSession(spell_out_rounding(model).SerializeToString(), options,
                                            providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        wide = {i.name: i.type == "tensor(float)" for i in session.get_inputs()}  # also float16 weights, by now
        feed = {n: a.astype(np.float32, copy=False) if wide[n] else a for n, a in feed.items() if n in wide}
        return dict(zip(names, session.run(names, feed), strict=True))
    except Exception as error:  # its exceptions share no base class
        raise ModelError(f"ONNX Runtime cannot run the network: {first_line(error)}",
                         "check the model with `python -m onnx.checker`, or export it again") from None
