"""The reference backend: its bundle holds the optimised ONNX model of each batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import onnx

from edgecls.backends.host_bundle import host_manifest
from edgecls.backends.reference.layers import describe_nodes
from edgecls.backends.reference.session import ReferenceSession, open_onnxruntime, tensor_specs
from edgecls.bundle import read_member, write_bundle
from edgecls.errors import BundleError, ModelError
from edgecls.frozen import Frozen
from edgecls.interfaces import Device, Progress, silent
from edgecls.oracle import import_onnxruntime
from edgecls.types import Artifact, Layer, OptimizedGraph, PrecisionName, Target, Unsupported


class ReferenceOptions(Frozen):
    """How ONNX Runtime runs the network."""

    optimize: Annotated[bool, msgspec.Meta(
        description="let ONNX Runtime optimise the graph: faster, but no longer the plain reference")] = False


class ReferenceBackend:
    """See edgecls.interfaces.Backend."""

    name = "reference"
    options_type = ReferenceOptions
    precisions: tuple[PrecisionName, ...] = ("fp32", "fp16", "int8")

    def check(self, graph: OptimizedGraph, target: Target) -> list[Unsupported]:
        """Nodes ONNX Runtime has no kernel for, found one at a time since it stops at the first."""
        try:
            open_onnxruntime(graph.onnx[graph.batches[0]], 1)
        except ModelError as error:
            return _blame(onnx.load_from_string(graph.onnx[graph.batches[0]]), error.message)
        return []

    def compile(self, graph: OptimizedGraph, target: Target, options: ReferenceOptions, output: Path,
                progress: Progress = silent) -> Artifact:
        """Raises ModelError when ONNX Runtime refuses the network, OutputError when `output` cannot be written."""
        ort = import_onnxruntime()

        specs = None
        layers: list[Layer] = []
        weights_bytes = 0
        for index, batch in enumerate(graph.batches):
            progress(f"load batch {batch}", index, len(graph.batches))
            runtime = open_onnxruntime(graph.onnx[batch], 1)
            specs = specs or (tensor_specs(runtime.get_inputs()), tensor_specs(runtime.get_outputs()))
            del runtime
            model = onnx.load_from_string(graph.onnx[batch])
            layers += describe_nodes(model, batch, len(layers))
            weights_bytes = sum(len(t.raw_data) for t in model.graph.initializer)
        assert specs is not None
        manifest = host_manifest(graph, target, options, backend=self.name, runtime="onnxruntime",
                                 toolchain={"onnxruntime": ort.__version__, "onnx": onnx.__version__},
                                 specs=specs, layers=layers, weights_bytes=weights_bytes)
        return write_bundle(output, manifest, {_member(b): graph.onnx[b] for b in graph.batches})

    def open_session(self, artifact: Artifact, device: Device, threads: int = 1) -> ReferenceSession:
        """Raises BundleError for a device other than this machine."""
        if device.name != "local":
            raise BundleError(f"{artifact.path}: the reference runs on this machine only, not on {device.name}",
                              "open it with --on local")
        manifest = artifact.manifest
        try:
            options = msgspec.convert(manifest.options, ReferenceOptions)
        except msgspec.ValidationError as error:
            raise BundleError(f"{artifact.path}: its options cannot be read by this version: {error}",
                              "compile the model again with this version of edgecls") from None
        models = {batch: read_member(artifact, _member(batch)) for batch in manifest.batches}
        return ReferenceSession(models, manifest.contract, artifact.hash, threads, device.facts,
                                optimize=options.optimize, layers=manifest.layers)


def _member(batch: int) -> str:
    return f"model_b{batch}.onnx"


def _blame(model: onnx.ModelProto, message: str) -> list[Unsupported]:
    """Nodes whose operator ONNX does not define; failing that, the first node, with ONNX Runtime's own words."""
    found = [Unsupported(node=node.name, op=f"{node.domain or 'ai.onnx'}.{node.op_type}",
                         reason="ONNX Runtime has no such operator")
             for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)]
    named = [n for n in model.graph.node if f"'{n.name}'" in message or f"({n.name})" in message]
    return found or [Unsupported(node=n.name, op=f"{n.domain or 'ai.onnx'}.{n.op_type}", reason=message)
                     for n in named or model.graph.node[:1]]
