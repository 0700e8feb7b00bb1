"""The manifest of a bundle without compiled code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

import edgecls
from edgecls.backends.onnx_specs import Specs
from edgecls.bundle import BUNDLE_FORMAT
from edgecls.frozen import Frozen
from edgecls.types import Layer, Manifest, OptimizedGraph, PlanFacts, Runtime, Target


def host_manifest(graph: OptimizedGraph, target: Target, options: Frozen, *, backend: str, runtime: Runtime,
                  toolchain: Mapping[str, str], specs: Specs, layers: Sequence[Layer] = (),
                  weights_bytes: int = 0) -> Manifest:
    """specs: of the smallest batch size. write_bundle fills in the members."""
    calls = {batch: sum(layer.batch == batch for layer in layers) for batch in graph.batches}
    return Manifest(
        format=BUNDLE_FORMAT, runtime=runtime, backend=backend, target=target,
        toolchain={"edgecls": edgecls.__version__, **toolchain}, members={},
        parent=graph.hash, exported=graph.parent, options=msgspec.to_builtins(options), decisions=(),
        layers=tuple(layers), passes=graph.passes, inputs=specs[0], outputs=specs[1], batches=graph.batches,
        plans=tuple(PlanFacts(batch=b, calls=calls[b], arena_bytes=0, peak_bytes=0, workspace_bytes_per_thread=0)
                    for b in graph.batches),
        weights_bytes=weights_bytes, contract=graph.contract, precision=graph.precision)
