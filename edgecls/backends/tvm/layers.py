"""The manifest's layers[] table: one row per kernel call."""

from __future__ import annotations

from edgecls.backends.tvm.call_plan import CallPlan, Weight
from edgecls.backends.tvm.schedule import Decision, Workload
from edgecls.types import Layer


def describe_layers(plan: CallPlan, ops: dict[str, str], workloads: dict[str, Workload],
                    decisions: dict[str, Decision], errors: dict[tuple[str, ...], float],
                    first: int) -> tuple[Layer, ...]:
    """ops: ONNX node -> "domain.operator". errors: of layers, by their nodes. first: index of the first row; those of
    the batch sizes follow one another."""
    rows = []
    for i, call in enumerate(plan.calls):
        arguments = list(zip(call.places, plan.arguments[call.kernel], strict=True))
        decision = decisions[call.kernel]
        error = None if decision.error is None else errors.get(call.nodes, decision.error)
        rows.append(Layer(
            index=first + i, batch=plan.batch, kernel=call.kernel, onnx_nodes=call.nodes,
            op="+".join(ops.get(n, "?").rpartition(".")[2] for n in call.nodes) or workloads[call.kernel].family,
            algorithm=decision.algorithm, layout=decision.layout, precision=arguments[-1][1].dtype,
            weight_bytes=sum(a.bytes for p, a in arguments if isinstance(p, Weight)),
            activation_bytes=sum(a.bytes for p, a in arguments if not isinstance(p, Weight)),
            flops=workloads[call.kernel].flops, predicted_us=decision.predicted_us, error=error,
            reason=decision.reason))
    return tuple(rows)
