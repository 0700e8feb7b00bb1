"""The steps in order: import -> layout -> algorithm -> legalise and fuse -> schedule -> memory plan -> emission."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import msgspec

from edgecls import __version__
from edgecls.backends.tvm import golden
from edgecls.backends.tvm.environment import tvm_target, tvm_versions
from edgecls.backends.tvm.glue import ModelParts
from edgecls.backends.tvm.kernels import build_kernels
from edgecls.backends.tvm.layers import describe_layers
from edgecls.backends.tvm.link import link_shared, link_static
from edgecls.backends.tvm.lower import Lowered, lower
from edgecls.backends.tvm.memory_facts import plan_facts
from edgecls.backends.tvm.memory_plan import plan_memory
from edgecls.backends.tvm.options import CompileOptions
from edgecls.backends.tvm.providers import SimpleProvider
from edgecls.backends.tvm.schedule import ScheduleProvider
from edgecls.backends.tvm.weights import WeightStore
from edgecls.bundle import BUNDLE_FORMAT, write_bundle
from edgecls.errors import UnsupportedError
from edgecls.frozen import content_hash
from edgecls.interfaces import Progress, silent
from edgecls.output import check_writable, work_folder
from edgecls.targets import feature_mask
from edgecls.toolchain import Toolchain, find_toolchain
from edgecls.types import Arch, Array, Artifact, Manifest, OptimizedGraph, PlanFacts, Target

_ARCHES: dict[Arch, int] = {"x86_64": 1, "aarch64": 2, "armv7": 3}
_HEADER = struct.Struct("<8sIIQQQQ32s32s64s80x")


def compile_bundle(graph: OptimizedGraph, target: Target, options: CompileOptions, output: Path,
                   progress: Progress = silent, provider: ScheduleProvider | None = None) -> Artifact:
    """Raises UnsupportedError, ToolchainError, OutputError. Equal arguments give equal bytes."""
    check_writable(output)
    toolchain = find_toolchain(target.cpu.arch, glibc=target.os.glibc, configured=target.cc)
    llvm = tvm_target(target)
    steps = _Steps(progress, total=len(graph.batches) + 3)
    with work_folder() as folder:
        with WeightStore(folder / "weights.bin") as store:
            lowered = []
            for batch in graph.batches:
                steps.next(f"lowering, batch {batch}")
                lowered.append(lower(graph.onnx[batch], batch, graph.batches, target, llvm, store,
                                     provider or SimpleProvider(), options))
            steps.next("computing the self-test")
            expected = {low.plan.batch: tuple(map(store.add, answers)) for low in lowered
                        if (answers := _expected(graph.onnx[low.plan.batch], low)) is not None}
        build_id = content_hash([graph.hash, target, options, _versions(toolchain), store.sha256,
                                 [d for low in lowered for d in low.decisions.values()]])[:32]
        steps.next("generating code")
        functions = {k: f for low in lowered for k, f in low.functions.items()}
        kernels = build_kernels(functions, llvm, f"ec_{build_id[:16]}", folder)
        memories = [plan_memory(low.plan, kernels.workspaces) for low in lowered]
        parts = ModelParts(
            build_id=build_id, name=_name(lowered[0].network.name), contract=graph.contract,
            inputs={low.plan.batch: low.network.inputs for low in lowered},
            outputs={low.plan.batch: low.outputs for low in lowered},
            plans=tuple(zip([low.plan for low in lowered], memories, strict=True)), kernels=kernels,
            flops={k: w.flops for low in lowered for k, w in low.workloads.items()},
            golden=expected, golden_tolerance=golden.TOLERANCE, features=feature_mask(target.cpu.features),
            weights_bytes=store.bytes, weights_sha256=bytes.fromhex(store.sha256))
        steps.next("linking")
        shared = link_shared(parts, toolchain, target, folder)
        members: dict[str, bytes | Path] = {"model.so": shared, "weights.bin": store.path}
        if options.static:
            members["model.o"] = link_static(parts, toolchain, folder)
        plans = tuple(plan_facts(low.plan, memory, low.workloads, low.decisions, target.cpu.cores, row)
                      for low, memory, row in zip(lowered, memories, _first_rows(lowered), strict=True))
        members["header.bin"] = _header(parts, plans, target, shared)
        manifest = Manifest(
            format=BUNDLE_FORMAT, runtime="edgecls", backend="tvm", target=target, toolchain=_versions(toolchain),
            members={}, parent=graph.hash, exported=graph.parent, options=msgspec.to_builtins(options),
            decisions=tuple({"kernel": k, **msgspec.to_builtins(d)} for low in lowered
                            for k, d in low.decisions.items()),
            layers=tuple(row for low, first_row in zip(lowered, _first_rows(lowered), strict=True)
                         for row in describe_layers(low.plan, low.network.ops, low.workloads, low.decisions,
                                                    low.errors, first_row)),
            passes=graph.passes, inputs=lowered[0].network.inputs, outputs=lowered[0].outputs, batches=graph.batches,
            plans=plans, weights_bytes=store.bytes, contract=graph.contract, symbol=parts.symbol)
        return write_bundle(output, manifest, members)


def _expected(model: bytes, low: Lowered) -> list[Array] | None:
    """The self-test's answers; None when there is none. Raises UnsupportedError when TVM computes other shapes."""
    answers = golden.golden_outputs(model, low.network.inputs)
    if answers is not None and [a.shape for a in answers] != [o.shape for o in low.outputs]:
        raise UnsupportedError("TVM and ONNX Runtime give the outputs different shapes: "
                               f"{[o.shape for o in low.outputs]} and {[a.shape for a in answers]}",
                               "look for pooling with ceil_mode or a resize, and export it with explicit sizes")
    return answers


class _Steps:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def next(self, stage: str) -> None:
        self._progress(stage, self._done, self._total)
        self._done += 1


def _first_rows(lowered: list[Lowered]) -> list[int]:
    return [sum(len(low.plan.calls) for low in lowered[:i]) for i in range(len(lowered))]


def _header(parts: ModelParts, plans: tuple[PlanFacts, ...], target: Target, model: bytes) -> bytes:
    return _HEADER.pack(b"ECLSHDR\0", 1, _ARCHES[target.cpu.arch], parts.features, parts.weights_bytes,
                        plans[0].arena_bytes, plans[0].workspace_bytes_per_thread, hashlib.sha256(model).digest(),
                        parts.weights_sha256, parts.symbol.encode())


def _versions(toolchain: Toolchain) -> dict[str, str]:
    tvm, ffi = tvm_versions()
    return {"edgecls": __version__, "apache-tvm": tvm, "apache-tvm-ffi": ffi,
            "compiler": f"{toolchain.name} {toolchain.version}"}


def _name(network: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in network)[:64] or "model"
