"""The `tensorrt` backend of edgecls.interfaces.Backend."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from edgecls.backends.host_bundle import host_manifest
from edgecls.backends.tensorrt.answers import Built
from edgecls.backends.tensorrt.assemble import describe_all, make_part, plan_facts
from edgecls.backends.tensorrt.build import Library, build, check
from edgecls.backends.tensorrt.network import Network, networks, weight_bytes
from edgecls.backends.tensorrt.options import TensorRTOptions
from edgecls.backends.tensorrt.recipe import MEMBER, Part, Recipe
from edgecls.bundle import write_bundle
from edgecls.errors import DataError, MissingExtraError, TargetError, ToolchainError
from edgecls.frozen import encode_json, sha256
from edgecls.interfaces import Device, Progress, Session, silent
from edgecls.types import Artifact, Gpu, Manifest, OptimizedGraph, PrecisionName, Runtime, Target, Unsupported

_RTX: Library = "tensorrt_rtx"


class TensorRTBackend:
    """For a card that TensorRT-RTX runs on, the bundle holds its plan; for every other GPU the graph and the recipe."""

    name = "tensorrt"
    options_type = TensorRTOptions
    precisions: tuple[PrecisionName, ...] = ("fp32", "fp16", "int8")

    def check(self, graph: OptimizedGraph, target: Target) -> list[Unsupported]:
        """Every node that TensorRT's ONNX parser refuses. Raises TargetError, MissingExtraError."""
        _gpu(target)
        return check(networks(graph)[0], _parser())

    def compile(self, graph: OptimizedGraph, target: Target, options: TensorRTOptions, output: Path,
                progress: Progress = silent) -> Artifact:
        """Raises TargetError (no GPU), DataError, MissingExtraError, UnsupportedError, ToolchainError, OutputError."""
        gpu = _gpu(target)
        _check_tf32(options, graph, gpu)
        made = networks(graph, separate=options.separate)
        members: dict[str, bytes] = {}
        parts: list[Part] = []
        builds: list[Built | None] = []
        why_none = "" if gpu.rtx or options.evidence else "none: not asked for"
        for index, network in enumerate(made):
            facts: dict[str, Any] = {}
            built = None
            if not why_none:
                try:
                    built, plan, _ = build(network, _RTX, capability=gpu.compute_capability, tf32=options.tf32,
                                           progress=_naming(network, progress))
                    if gpu.rtx:
                        facts["plan"] = f"plan_{index}.bin"
                        members[facts["plan"]] = plan
                    else:
                        facts |= {"evidence_bytes": len(plan), "evidence_sha256": sha256(plan)}
                except (ToolchainError, MissingExtraError) as refused:
                    if gpu.rtx:
                        raise
                    why_none = f"none: {refused.message}"
            if not gpu.rtx:
                facts["network"] = f"network_{index}.onnx"
                members[facts["network"]] = network.onnx
            builds.append(built)
            parts.append(make_part(network, built, facts))
        versions = {b.version for b in builds if b is not None}
        evidence = why_none or ("" if gpu.rtx else (
            f"layers as tensorrt-rtx {', '.join(versions)} fuses them for this compute capability; "
            "its plan is not what runs on this GPU"))
        recipe = Recipe(parts=tuple(parts), compute_capability=gpu.compute_capability, tf32=options.tf32,
                        evidence=evidence)
        manifest = self._manifest(graph, target, options, made, builds, parts, gpu)
        return write_bundle(output, manifest, {**members, MEMBER: encode_json(recipe, indent=True)})

    def _manifest(self, graph: OptimizedGraph, target: Target, options: TensorRTOptions, made: Sequence[Network],
                  builds: Sequence[Built | None], parts: Sequence[Part], gpu: Gpu) -> Manifest:
        rows = describe_all(made, builds, graph.batches)
        versions = {b.version for b in builds if b is not None}
        runtime: Runtime = "tensorrt-rtx" if gpu.rtx else "tensorrt"
        manifest = host_manifest(
            graph, target, options, backend=self.name, runtime=runtime, layers=rows,
            specs=next((n.inputs, n.outputs) for n in made if graph.batches[0] in n.batches),
            toolchain=dict.fromkeys(["tensorrt-rtx"] * bool(versions), "".join(versions)),
            weights_bytes=sum(map(weight_bytes, made)))
        return msgspec.structs.replace(manifest, plans=plan_facts(parts, rows, graph.batches))

    def finish(self, artifact: Artifact, device: Device, output: Path, progress: Progress = silent) -> Artifact:
        """See edgecls.interfaces.Finishing."""
        from edgecls.backends.tensorrt.finish import finish_bundle

        return finish_bundle(artifact, device, output, progress)

    def open_session(self, artifact: Artifact, device: Device, threads: int = 1) -> Session:
        """On this machine's GPU. Raises BundleError, DeviceError, MissingExtraError."""
        from edgecls.backends.tensorrt.session import open_gpu_session

        return open_gpu_session(artifact, device, threads)


def _gpu(target: Target) -> Gpu:
    if target.gpu is None:
        raise TargetError(f"target {target.name} has no GPU, and TensorRT compiles for nothing else",
                          "choose a target with one (`edgecls targets` lists them), or --backend tvm")
    return target.gpu


def _check_tf32(options: TensorRTOptions, graph: OptimizedGraph, gpu: Gpu) -> None:
    """A flag without effect is a misunderstanding. Raises DataError."""
    if options.tf32 and graph.precision.kind == "fp16" and not graph.precision.kept_fp32:
        raise DataError("--tf32 has no effect in fp16: no product is in float32", "leave it out")
    if options.tf32 and float(gpu.compute_capability) < 8:
        raise DataError(f"--tf32 has no effect on compute capability {gpu.compute_capability}: TF32 came with 8.0",
                        "leave it out")


def _parser() -> Library:
    """Whichever library is installed: they have the same ONNX parser."""
    return _RTX if find_spec(_RTX) is not None or find_spec("tensorrt") is None else "tensorrt"


def _naming(network: Network, progress: Progress) -> Progress:
    sizes = ", ".join(map(str, network.batches))

    def named(stage: str, done: int, total: int) -> None:
        progress(f"batch {sizes}: {stage}", done, total)

    return named
