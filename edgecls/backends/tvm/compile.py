"""The steps in order: import -> layout -> algorithm -> legalise and fuse -> schedule -> memory plan -> emission."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import onnx

from edgecls import __version__
from edgecls.backends.tvm import fuse, golden
from edgecls.backends.tvm.algorithm import choose_algorithms
from edgecls.backends.tvm.blocked.rewrite import Rewritten, rewrite
from edgecls.backends.tvm.call_plan import CallPlan, WeightStore, read_plan
from edgecls.backends.tvm.environment import tvm_target, tvm_versions
from edgecls.backends.tvm.glue import ModelParts
from edgecls.backends.tvm.importer import import_onnx
from edgecls.backends.tvm.kernels import build_kernels
from edgecls.backends.tvm.layers import describe_layers
from edgecls.backends.tvm.layout import fold_constants, pack_weights
from edgecls.backends.tvm.link import link_shared, link_static
from edgecls.backends.tvm.memory_plan import MemoryPlan, plan_memory
from edgecls.backends.tvm.options import CompileOptions
from edgecls.backends.tvm.providers import SimpleProvider
from edgecls.backends.tvm.refuse import cannot_be_carried, in_onnx_words, output_shapes, refuse, unsafe_indices
from edgecls.backends.tvm.schedule import Decision, ScheduleProvider, Workload
from edgecls.backends.tvm.schedules import apply_decision, describe_workload
from edgecls.bundle import BUNDLE_FORMAT, write_bundle
from edgecls.errors import UnsupportedError
from edgecls.frozen import content_hash
from edgecls.interfaces import Progress, silent
from edgecls.output import check_writable, work_folder
from edgecls.targets import feature_mask
from edgecls.toolchain import Toolchain, find_toolchain
from edgecls.types import Arch, Artifact, Manifest, OptimizedGraph, PlanFacts, Target, TensorSpec, Unsupported

_ARCHES: dict[Arch, int] = {"x86_64": 1, "aarch64": 2, "armv7": 3}
_HEADER = struct.Struct("<8sIIQQQQ32s32s64s80x")


@dataclass(frozen=True)
class _Lowered:
    """One batch size, ready for code generation. functions: scheduled TIR by kernel name."""

    plan: CallPlan
    memory: MemoryPlan
    functions: dict[str, Any]
    workloads: dict[str, Workload]
    decisions: dict[str, Decision]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def check_graph(graph: OptimizedGraph, target: Target) -> list[Unsupported]:
    """What stands in the way of compiling, without compiling: every step up to the plan, for the smallest batch."""
    batch = graph.batches[0]
    legal = _legalize(graph.onnx[batch], target, tvm_target(target), CompileOptions(winograd="off"))
    if legal.unsupported:
        return list(legal.unsupported)
    try:
        read_plan(fuse.fuse(legal.module, legal.blocked.owner, tvm_target(target)), batch, WeightStore(),
                  own=legal.blocked.functions)
    except UnsupportedError as error:
        return [Unsupported(node="the network", op="graph", reason=error.message)]
    return []


def compile_bundle(graph: OptimizedGraph, target: Target, options: CompileOptions, output: Path,
                   progress: Progress = silent, provider: ScheduleProvider | None = None) -> Artifact:
    """Raises UnsupportedError, ToolchainError, OutputError. Equal arguments give equal bytes."""
    check_writable(output)
    toolchain = find_toolchain(target.cpu.arch, glibc=target.os.glibc, configured=target.cc)
    llvm = tvm_target(target)
    store = WeightStore()
    steps = _Steps(progress, total=2 * len(graph.batches) + 3)
    lowered = [_lower(graph.onnx[batch], batch, target, llvm, store, provider or SimpleProvider(),
                      options, steps)
               for batch in graph.batches]
    specs = {low.plan.batch: (low.inputs, low.outputs) for low in lowered}
    steps.next("computing the self-test")
    expected = {}
    for batch, (inputs, outputs) in specs.items():
        answers = golden.golden_outputs(graph.onnx[batch], inputs)
        if answers is None:
            continue
        if [a.shape for a in answers] != [o.shape for o in outputs]:
            raise UnsupportedError("TVM and ONNX Runtime give the outputs different shapes: "
                                   f"{[o.shape for o in outputs]} and {[a.shape for a in answers]}",
                                   "look for pooling with ceil_mode or a resize, and export it with explicit sizes")
        expected[batch] = tuple(map(store.add, answers))
    weights = store.to_bytes()
    build_id = content_hash([graph.hash, target, options, _versions(toolchain), hashlib.sha256(weights).hexdigest(),
                             [d for low in lowered for d in low.decisions.values()]])[:32]
    with work_folder() as folder:
        steps.next("generating code")
        functions = {k: f for low in lowered for k, f in low.functions.items()}
        kernels = build_kernels(functions, llvm, f"ec_{build_id[:16]}", folder)
        parts = ModelParts(
            build_id=build_id, name=_name(graph), contract=graph.contract,
            inputs={b: s[0] for b, s in specs.items()}, outputs={b: s[1] for b, s in specs.items()},
            plans=tuple((low.plan, low.memory) for low in lowered), kernels=kernels,
            flops={k: w.flops for low in lowered for k, w in low.workloads.items()},
            golden=expected, golden_tolerance=golden.TOLERANCE, features=feature_mask(target.cpu.features),
            weights_bytes=len(weights), weights_sha256=hashlib.sha256(weights).digest())
        steps.next("linking")
        members = {"model.so": link_shared(parts, toolchain, target, folder), "weights.bin": weights}
        if options.static:
            members["model.o"] = link_static(parts, toolchain, folder)
    plans = tuple(_plan_facts(low, kernels.workspaces) for low in lowered)
    members["header.bin"] = _header(parts, plans, target, members["model.so"])
    first = graph.batches[0]
    manifest = Manifest(
        format=BUNDLE_FORMAT, runtime="edgecls", backend="tvm", target=target, toolchain=_versions(toolchain),
        members={}, parent=graph.hash, exported=graph.parent, options=msgspec.to_builtins(options),
        decisions=tuple({"kernel": k, **msgspec.to_builtins(d)} for low in lowered for k, d in low.decisions.items()),
        layers=tuple(row for low, first_row in zip(lowered, _first_rows(lowered), strict=True)
                     for row in describe_layers(low.plan, onnx.load_from_string(graph.onnx[low.plan.batch]),
                                                low.workloads, low.decisions, first_row)),
        passes=graph.passes, inputs=specs[first][0], outputs=specs[first][1], batches=graph.batches, plans=plans,
        weights_bytes=len(weights), contract=graph.contract, symbol=parts.symbol)
    return write_bundle(output, manifest, members)


@dataclass(frozen=True)
class _Legal:
    """module: legalised IRModule; nothing of it may be used when there is something unsupported."""

    module: Any
    blocked: Rewritten
    unsupported: tuple[Unsupported, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def _legalize(model: bytes, target: Target, llvm: Any, options: CompileOptions) -> _Legal:
    """Import, layout, algorithm, legalise; and everything that stands in the way."""
    proto = onnx.load_from_string(model)
    inputs, declared = _specs(proto)
    imported = import_onnx(proto)
    if imported.unsupported:
        return _Legal(None, Rewritten(None), in_onnx_words(imported.unsupported, proto), inputs, declared)
    blocked = rewrite(fold_constants(imported.relax), imported.owner, target, options.winograd, options.growth)
    chosen = choose_algorithms(pack_weights(blocked.module))
    unsafe = unsafe_indices(chosen, blocked.owner)
    if unsafe:
        return _Legal(None, blocked, in_onnx_words(unsafe, proto), inputs, declared)
    legal = fuse.legalize(chosen, llvm)
    unsupported = in_onnx_words(cannot_be_carried(legal, blocked.owner, declared), proto)
    # ONNX's inference is sometimes wrong (pooling with ceil_mode): the shapes that are computed count
    outputs = declared if unsupported else tuple(
        msgspec.structs.replace(spec, shape=shape)
        for spec, shape in zip(declared, output_shapes(legal), strict=True))
    return _Legal(legal, blocked, unsupported, inputs, outputs)


class _Steps:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def next(self, stage: str) -> None:
        self._progress(stage, self._done, self._total)
        self._done += 1


def _lower(model: bytes, batch: int, target: Target, llvm: Any, store: WeightStore, provider: ScheduleProvider,
           options: CompileOptions, steps: _Steps) -> _Lowered:
    steps.next(f"importing and fusing, batch {batch}")
    legal = _legalize(model, target, llvm, options)
    refuse(list(legal.unsupported))
    fused = fuse.fuse(legal.module, legal.blocked.owner, llvm)
    suffix = f"_b{batch}"
    plan = read_plan(fused, batch, store, suffix, legal.blocked.functions)
    steps.next(f"scheduling, batch {batch}")
    functions, workloads, decisions = {}, {}, {}
    used = {c.kernel for c in plan.calls}
    for name, function in sorted(legal.blocked.functions.items()):
        functions[name + suffix], workloads[name + suffix] = function, legal.blocked.workloads[name]
        decisions[name + suffix] = legal.blocked.decisions[name]
    for variable, function in sorted(fused.relax.functions.items(), key=lambda i: i[0].name_hint):
        kernel = variable.name_hint + suffix
        if kernel not in used:
            continue
        workloads[kernel] = describe_workload(kernel, function)
        functions[kernel], decisions[kernel] = apply_decision(function, provider.choose(workloads[kernel], target))
    return _Lowered(plan=plan, memory=plan_memory(plan), functions=functions, workloads=workloads,
                    decisions=decisions, inputs=legal.inputs, outputs=legal.outputs)


def _specs(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs as the network declares them."""
    graph = model.graph

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        kind = value.type.tensor_type
        return TensorSpec(name=value.name, dtype=onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
                          shape=tuple(d.dim_value for d in kind.shape.dim))

    constants = {i.name for i in graph.initializer}
    return tuple(spec(v) for v in graph.input if v.name not in constants), tuple(spec(v) for v in graph.output)


def _plan_facts(low: _Lowered, workspaces: dict[str, int]) -> PlanFacts:
    return PlanFacts(batch=low.plan.batch, calls=len(low.plan.calls), arena_bytes=low.memory.arena_bytes,
                     peak_bytes=low.memory.peak_bytes,
                     workspace_bytes_per_thread=max((workspaces[c.kernel] for c in low.plan.calls), default=0))


def _first_rows(lowered: list[_Lowered]) -> list[int]:
    return [sum(len(low.plan.calls) for low in lowered[:i]) for i in range(len(lowered))]


def _header(parts: ModelParts, plans: tuple[PlanFacts, ...], target: Target, model: bytes) -> bytes:
    return _HEADER.pack(b"ECLSHDR\0", 1, _ARCHES[target.cpu.arch], parts.features, parts.weights_bytes,
                        plans[0].arena_bytes, plans[0].workspace_bytes_per_thread, hashlib.sha256(model).digest(),
                        parts.weights_sha256, parts.symbol.encode())


def _versions(toolchain: Toolchain) -> dict[str, str]:
    tvm, ffi = tvm_versions()
    return {"edgecls": __version__, "apache-tvm": tvm, "apache-tvm-ffi": ffi,
            "compiler": f"{toolchain.name} {toolchain.version}"}


def _name(graph: OptimizedGraph) -> str:
    name = onnx.load_from_string(graph.onnx[graph.batches[0]]).graph.name
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:64] or "model"
