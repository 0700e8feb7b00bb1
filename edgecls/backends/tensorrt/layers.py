"""The manifest's layers[] table: one row per engine layer, and why it matters what was fused and what was not."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edgecls.backends.onnx_cost import node_flops
from edgecls.backends.tensorrt.inspection import EngineLayer
from edgecls.types import Layer

_MOVES = frozenset({"Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Shape", "Slice",
                    "Split", "Squeeze", "Transpose", "Unsqueeze", "QuantizeLinear", "DequantizeLinear"})


def describe_layers(engine: Sequence[EngineLayer], model: onnx.ModelProto, batch: int, first: int) -> list[Layer]:
    """Rows numbered from `first`. model: at this batch size, with the nodes' names that the builder saw.

    A node that several layers name is counted once: in the one with its weights. A generated kernel ("kgen") that
    names it beside another layer only prepares its input.
    """
    place = {node.name: index for index, node in enumerate(model.graph.node)}
    ops = {node.name: node.op_type for node in model.graph.node}
    flops = node_flops(model)
    owner: dict[str, int] = {}
    for index, layer in enumerate(engine):
        for node in layer.nodes:
            current = owner.get(node)
            if current is None or _claim(layer) >= _claim(engine[current]):
                owner[node] = index
    total = sum(_moved(layer) for layer in engine) or 1
    rows = []
    for index, layer in enumerate(engine):
        own = tuple(sorted((node for node in layer.nodes if node in ops), key=lambda node: place[node]))
        rows.append(Layer(
            index=first + index, batch=batch, kernel=layer.name, onnx_nodes=own,
            op="+".join(dict.fromkeys(ops[n] for n in own)) or layer.kind, algorithm=layer.kind,
            layout=layer.outputs[0].layout if layer.outputs else "", precision=layer.precision,
            weight_bytes=_weight_bytes(layer), activation_bytes=_moved(layer),
            flops=sum(flops.get(n, 0) for n in own if owner[n] == index),
            reason=_reason(layer, own, [ops[n] for n in own if owner[n] == index], _moved(layer) / total)))
    return rows


def _claim(layer: EngineLayer) -> tuple[bool, int]:
    return layer.kind != "kgen", _weight_bytes(layer)


def _weight_bytes(layer: EngineLayer) -> int:
    return sum(t.bytes for t in layer.constants)


def _moved(layer: EngineLayer) -> int:
    return sum(t.bytes for t in (*layer.inputs, *layer.outputs))


def _reason(layer: EngineLayer, nodes: Sequence[str], owned: Sequence[str], share: float) -> str:
    computing = [op for op in owned if op not in _MOVES]
    traffic = f"{share:.1%} of what all layers read and write"
    if not computing:
        return f"only moves or converts data between layers: {traffic}"
    if len(nodes) > 1:
        return f"fused: {len(nodes)} nodes in one kernel, what passes between them never reaches memory"
    return f"not fused with a neighbour: its input and output go through memory, {traffic}"
