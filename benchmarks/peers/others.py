"""The layers that multiply and are no dense convolutions, each against the largest of three floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import onnx

from benchmarks.evidence import Row, markdown_table
from benchmarks.peers.dense import uses_weights_once
from benchmarks.peers.floors import Rates
from benchmarks.peers.layers import Call
from edgecls.frozen import Frozen

_FLOORS = ("products", "ports", "memory")
_TEXT = (
    "## Depthwise, first and linear layers", "",
    "Layers that multiply and are not in the tables above, summed by kind, in microseconds; each is judged by the "
    "largest of three floors. *Products*: its multiply-adds at the peak in registers. *Ports*: its inputs, weights and "
    "results, once each, at the rate at which the first cache is read. *Memory*: its weights at the bandwidth with "
    "which as many bytes as the network's weights are read again and again. *Least*: of one kernel. A depthwise kernel "
    "loads an input more than once, for every row of taps that does not find it in a register.",
    "")


class Other(Frozen):
    """Microseconds. kind: depthwise, first or narrow, one pixel."""

    index: int
    kind: str
    us: float
    products: float
    ports: float
    memory: float

    @property
    def floor(self) -> float:
        return max(self.products, self.ports, self.memory)


def grouped_nodes(model: onnx.ModelProto) -> set[str]:
    return {node.name for node in model.graph.node if node.op_type == "Conv"
            and any(a.name == "group" and a.i > 1 for a in node.attribute)}


def other(call: Call, grouped: set[str], rates: Rates, first_cache_bytes_per_s: float) -> Other:
    layer = call.layer
    kind = ("depthwise" if grouped & set(layer.onnx_nodes) else "one pixel" if uses_weights_once(layer)
            else "first or narrow")
    return Other(index=layer.index, kind=kind, us=call.us, products=1e6 * layer.flops / rates.flops_per_s,
                 ports=1e6 * (layer.activation_bytes + layer.weight_bytes) / first_cache_bytes_per_s,
                 memory=1e6 * layer.weight_bytes / rates.read_bytes_per_s)


def sections(rows: Sequence[Row]) -> list[str]:
    body = []
    for row in rows:
        each = [msgspec.convert(x, Other) for x in row["others"]]
        for kind in dict.fromkeys(x.kind for x in each):
            body.append([row["network"], kind, *_cells([x for x in each if x.kind == kind])])
    titles = ("network", "kind", "kernels", "µs", *_FLOORS, "of the largest floors", "least")
    return [*_TEXT, *markdown_table(titles, body), ""] if body else []


def _cells(found: Sequence[Other]) -> list[str]:
    us = sum(x.us for x in found)
    sums: Mapping[str, float] = {name: sum(getattr(x, name) for x in found) for name in _FLOORS}
    return [str(len(found)), f"{us:.1f}", *(f"{sums[name]:.1f}" for name in _FLOORS),
            f"{sum(x.floor for x in found) / us:.0%}", f"{min(x.floor / x.us for x in found):.0%}"]
