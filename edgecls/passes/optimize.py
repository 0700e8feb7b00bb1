"""Run the passes, and prove after each that the network still computes the same."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edgecls.errors import ModelError
from edgecls.interfaces import Progress, silent
from edgecls.passes.bind_batch import bind_batch, check_batches
from edgecls.passes.default import DEFAULT_PASSES, Pass
from edgecls.passes.names import name_nodes
from edgecls.passes.network import Network, static_shape
from edgecls.passes.verify import Verifier
from edgecls.types import ExportedGraph, OptimizedGraph, PassRecord

_COMMON_IR = 10  # has every tensor type an exporter writes today
_RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
                     "RandomUniformLike"})


def optimize_graph(graph: ExportedGraph, batches: Sequence[int] | None = None,
                   passes: Sequence[Pass] | None = None, progress: Progress = silent) -> OptimizedGraph:
    """Bind each batch size and rewrite the graph; one PassRecord per pass, its worst case over the batch sizes.

    batches None: 1, or the size the network was exported with. passes None: DEFAULT_PASSES. A network with operators
    that ONNX does not define cannot be verified, so it is only bound, for Backend.check to name those operators.
    Raises ModelError (not ONNX, cannot have this batch size, cannot run), InternalError (a pass broke the network).
    """
    network = Network.parse(graph.onnx)
    sizes = check_batches(network, batches)
    chosen = tuple(DEFAULT_PASSES if passes is None else passes)
    models: dict[int, bytes] = {}
    records: list[list[PassRecord]] = []
    for index, size in enumerate(sizes):
        if index:
            network = Network.parse(graph.onnx)
        records.append(_optimize(network, size, chosen, progress))
        models[size] = network.serialize()
    return OptimizedGraph(onnx=models, contract=graph.contract, parent=graph.hash,
                          passes=tuple(_worst(same) for same in zip(*records, strict=True)))


def _optimize(network: Network, batch: int, passes: Sequence[Pass], progress: Progress) -> list[PassRecord]:
    """Rewrite `network` in place for one batch size."""
    _strip(network.model)
    name_nodes(network.graph)
    nodes = len(network.graph.node)
    fired = bind_batch(network, batch)
    records = [PassRecord(name="bind_batch", fired=fired, nodes_before=nodes, nodes_after=nodes, max_difference=0.0)]
    if _has_unknown_operators(network.model):
        return records
    _refuse_random(network.graph)
    verifier = Verifier(network, batch)
    difference = 0.0
    for index, step in enumerate(passes):
        progress(f"batch {batch}: {step.name}", index, len(passes))
        before = _content(network)
        nodes = len(network.graph.node)
        step.apply(network)
        name_nodes(network.graph)
        fired = _content(network) != before
        if fired:
            difference = verifier.check(network, step.name)
        records.append(PassRecord(name=step.name, fired=fired, nodes_before=nodes,
                                  nodes_after=len(network.graph.node), max_difference=difference))
    progress(f"batch {batch}: optimised", len(passes), len(passes))
    if passes == DEFAULT_PASSES:
        _refuse_dynamic(network)
    else:  # without folding, shapes that are fixed can look dynamic: say what they were
        for value in network.graph.output:
            element = value.type.tensor_type.elem_type
            value.type.CopyFrom(onnx.helper.make_tensor_type_proto(element, verifier.shapes[value.name]))
    return records


def _strip(model: onnx.ModelProto) -> None:
    """Forget what exporters note for people: source paths, stack traces, the contract (a field of its own here).

    The file format's version is lowered to what the operators need, since ONNX Runtime lags behind the newest one.
    """
    needed = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    model.ir_version = min(model.ir_version, max(needed, _COMMON_IR))
    for message in (model, model.graph, *model.functions, *model.graph.node, *model.graph.initializer):
        message.ClearField("metadata_props")
        message.ClearField("doc_string")


def _content(network: Network) -> list[bytes | str]:
    """What a rewrite may change; inferred shapes are no change."""
    fields = (network.graph.node, network.graph.initializer, network.model.functions)
    names = [value.name for field in (network.graph.input, network.graph.output) for value in field]
    return [message.SerializeToString(deterministic=True) for field in fields for message in field] + names


def _has_unknown_operators(model: onnx.ModelProto) -> bool:
    functions = {(f.domain, f.name) for f in model.functions}
    return any((n.domain, n.op_type) not in functions and not onnx.defs.has(n.op_type, n.domain)
               for n in model.graph.node)


def _refuse_random(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.op_type in _RANDOM:
            raise ModelError(f"the node {node.name!r} ({node.op_type}) draws random numbers, so no two runs agree",
                             "put the model into evaluation mode and export it again")


def _refuse_dynamic(network: Network) -> None:
    types = network.infer_types()
    for node in network.graph.node:
        for name in filter(None, node.output):
            if static_shape(types.get(name)) is None:
                raise ModelError(f"the shape of {name!r}, made by node {node.name!r} ({node.op_type}), depends on data",
                                 "export the network without this node, or with fixed sizes")


def _worst(records: Sequence[PassRecord]) -> PassRecord:
    """One record for the same pass at several batch sizes; node counts are the smallest batch's."""
    first = records[0]
    return PassRecord(name=first.name, fired=any(r.fired for r in records), nodes_before=first.nodes_before,
                      nodes_after=first.nodes_after, max_difference=max(r.max_difference for r in records))
