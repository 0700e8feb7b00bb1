"""A backend whose every answer is zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from edgecls.backends.host_bundle import host_manifest
from edgecls.backends.host_session import HostSession, check_threads
from edgecls.backends.onnx_specs import graph_specs
from edgecls.bundle import write_bundle
from edgecls.frozen import Frozen
from edgecls.interfaces import Device, Progress, silent
from edgecls.runtime.feed import at_batch
from edgecls.types import Array, Artifact, OptimizedGraph, PrecisionName, Target, TensorSpec, Unsupported


class NullOptions(Frozen):
    """None."""


class NullBackend:
    """See edgecls.interfaces.Backend. Its bundle holds the manifest alone."""

    name = "null"
    options_type = NullOptions
    precisions: tuple[PrecisionName, ...] = ("fp32", "fp16", "int8")

    def check(self, graph: OptimizedGraph, target: Target) -> list[Unsupported]:
        """It can do nothing with any node."""
        return []

    def compile(self, graph: OptimizedGraph, target: Target, options: NullOptions, output: Path,
                progress: Progress = silent) -> Artifact:
        """Raises OutputError."""
        specs = graph_specs(onnx.load_from_string(graph.onnx[graph.batches[0]]).graph)
        return write_bundle(output, host_manifest(graph, target, options, backend=self.name, runtime="null",
                                                  toolchain={}, specs=specs), {})

    def open_session(self, artifact: Artifact, device: Device, threads: int = 1) -> HostSession:
        """Runs here, whatever the device."""
        return NullSession(artifact, device, threads)


class NullSession(HostSession):
    """Answers zeros of the right shapes."""

    def __init__(self, artifact: Artifact, device: Device, threads: int) -> None:
        manifest = artifact.manifest
        smallest = manifest.batches[0]
        plans = {b: (_scale(manifest.inputs, b, smallest), _scale(manifest.outputs, b, smallest))
                 for b in manifest.batches}
        super().__init__(plans, manifest.contract, artifact.hash, check_threads(threads), device.facts)
        self._zeros = {b: {s.name: np.zeros(s.shape, s.dtype) for s in plans[b][1]} for b in plans}

    def _invoke(self, batch: int, feed: dict[str, Array]) -> dict[str, Array]:
        return {name: zeros.copy() for name, zeros in self._zeros[batch].items()}


def _scale(specs: tuple[TensorSpec, ...], batch: int, smallest: int) -> tuple[TensorSpec, ...]:
    return tuple(at_batch(spec, batch, smallest) for spec in specs)
