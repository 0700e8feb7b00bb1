"""The network at one batch size, from ONNX to a call plan and scheduled kernels: steps 1 to 6a."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import msgspec
import onnx

from edgecls.backends.onnx_specs import graph_specs
from edgecls.backends.tvm import fuse
from edgecls.backends.tvm.algorithm import choose_algorithms
from edgecls.backends.tvm.blocked.rewrite import Rewritten, rewrite
from edgecls.backends.tvm.call_plan import CallPlan, read_plan
from edgecls.backends.tvm.importer import import_onnx
from edgecls.backends.tvm.layout import fold_constants, pack_weights
from edgecls.backends.tvm.options import CompileOptions
from edgecls.backends.tvm.refuse import (
    cannot_be_carried,
    cannot_be_legalised,
    in_onnx_words,
    output_shapes,
    refuse,
)
from edgecls.backends.tvm.schedule import Decision, ScheduleProvider, Workload
from edgecls.backends.tvm.schedules import apply_decision, describe_workload
from edgecls.backends.tvm.weights import WeightStore
from edgecls.types import Target, TensorSpec, Unsupported


@dataclass(frozen=True)
class Network:
    """What is known of an imported network beside its module. owner: Relax variable -> ONNX node. ops: node ->
    "domain.operator". outputs: as it declares them."""

    owner: dict[str, str]
    unsupported: tuple[Unsupported, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    name: str
    ops: dict[str, str]


@dataclass(frozen=True)
class Lowered:
    """Ready for code generation. functions: scheduled TIR by kernel. errors: measured, of layers, by their ONNX nodes.
    outputs: as they are computed."""

    plan: CallPlan
    functions: dict[str, Any]
    workloads: dict[str, Workload]
    decisions: dict[str, Decision]
    errors: dict[tuple[str, ...], float]
    network: Network
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Legal:
    """module: legalised IRModule; None where there is something unsupported."""

    module: Any
    unsupported: tuple[Unsupported, ...] = ()


def lower(model: bytes, batch: int, batches: Sequence[int], target: Target, llvm: Any, store: WeightStore,
          provider: ScheduleProvider, options: CompileOptions) -> Lowered:
    """batches: all of the bundle. Raises UnsupportedError."""
    module, network = import_network(model)
    refuse(network.unsupported)
    blocked = rewrite(module, network.owner, target, options, store,
                      [Fraction(b, batch) for b in batches])
    del module
    gc.collect()  # TVM's visitors refer to themselves: the weights, which have been packed, would stay
    legal = legalize(blocked, network, llvm)
    refuse(legal.unsupported)
    fused = fuse.fuse(legal.module, blocked.owner, llvm)
    suffix = f"_b{batch}"
    plan = read_plan(fused, batch, store, suffix, blocked.functions)
    functions, workloads, decisions = {}, {}, {}
    used = {c.kernel for c in plan.calls}
    for name, function in sorted(blocked.functions.items()):
        functions[name + suffix], workloads[name + suffix] = function, blocked.workloads[name]
        decisions[name + suffix] = blocked.decisions[name]
    for variable, function in sorted(fused.relax.functions.items(), key=lambda i: i[0].name_hint):
        kernel = variable.name_hint + suffix
        if kernel not in used:
            continue
        workloads[kernel] = describe_workload(kernel, function)
        functions[kernel], decisions[kernel] = apply_decision(function, provider.choose(workloads[kernel], target))
    # ONNX's inference is sometimes wrong (pooling with ceil_mode): the shapes that are computed count
    outputs = tuple(msgspec.structs.replace(spec, shape=shape)
                    for spec, shape in zip(network.outputs, output_shapes(legal.module), strict=True))
    return Lowered(plan=plan, functions=functions, workloads=workloads, decisions=decisions, errors=blocked.errors,
                   network=network, outputs=outputs)


def import_network(model: bytes) -> tuple[Any, Network]:
    """(Relax operators on NCHW tensors with constants folded, the rest); no module where something is unsupported."""
    proto = onnx.load_from_string(model)
    inputs, outputs = graph_specs(proto.graph)
    imported = import_onnx(proto)
    ops = {node.name: f"{node.domain or 'ai.onnx'}.{node.op_type}" for node in proto.graph.node}
    network = Network(imported.owner, in_onnx_words(imported.unsupported, ops), inputs, outputs, proto.graph.name, ops)
    del proto  # its weights are in the module
    gc.collect()  # and the importer, which refers to itself, holds it
    return (None if imported.unsupported else fold_constants(imported.relax)), network


def legalize(blocked: Rewritten, network: Network, llvm: Any) -> Legal:
    """Algorithm, legalise; and everything that stands in the way."""
    chosen = choose_algorithms(pack_weights(blocked.module))
    refused = cannot_be_legalised(chosen, blocked.owner)
    if refused:
        return Legal(None, in_onnx_words(refused, network.ops))
    legal = fuse.legalize(chosen, llvm)
    unsupported = in_onnx_words(cannot_be_carried(legal, blocked.owner, network.outputs), network.ops)
    return Legal(None if unsupported else legal, unsupported)
