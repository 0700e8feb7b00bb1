"""Whole networks through TensorRT-RTX's builder: how far they shrink. All: benchmarks/results/tensorrt.md."""

from __future__ import annotations

import onnx
import pytest

from benchmarks.models import LITE0
from edgecls.frontend import ExportOptions, load_onnx
from edgecls.passes import optimize_graph
from tests.backends.tensorrt.conftest import needs_rtx
from tests.backends.tensorrt.networks import half
from tests.backends.tensorrt.test_fusion import rows_of

pytestmark = needs_rtx


@pytest.mark.parametrize(("name", "network_layers", "engine_layers"), [
    (LITE0, 105, 60), *(pytest.param(*row, marks=pytest.mark.slow) for row in (
        ("resnet18", 60, 30), ("mobilenet_v2", 110, 65), ("vit_tiny", 2000, 130)))])
def test_real_networks_shrink(name, network_layers, engine_layers, network):
    """Upper bounds with some room for other versions of the builder; benchmarks/results/tensorrt.md has the numbers."""
    exported = load_onnx(network(name), ExportOptions())
    rows, (built,) = rows_of(half(exported))
    assert built.network_layers <= network_layers and len(rows) <= engine_layers
    assert {row.precision for row in rows} == {"fp16"}
    nodes = {node for row in rows for node in row.onnx_nodes}
    graph = onnx.load_from_string(optimize_graph(exported).onnx[1]).graph
    assert {n.name for n in graph.node if n.op_type in ("Conv", "Gemm", "Softmax")} <= nodes
