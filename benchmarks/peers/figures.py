"""What the samples of one network and thread count say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

import msgspec
import onnx

from benchmarks.peers.conditions import disturbances
from benchmarks.peers.engines import AGAIN, OURS
from benchmarks.peers.floors import Rates
from edgecls.frozen import Frozen
from edgecls.harness.statistics import percentile, spread
from edgecls.harness.validity import latency_reasons
from edgecls.results import Limits, NoiseBand
from edgecls.types import DeviceFacts

AGREES = 1e-2
Row = Mapping[str, Any]


class Work(Frozen):
    """Of one inference. weight_bytes: in float32, each read once."""

    multiply_adds: int
    weight_bytes: int


def bind(model: onnx.ModelProto) -> onnx.ModelProto:
    """Batch 1, and every shape told anew: some converters stumble over a symbol."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def work(model: onnx.ModelProto) -> Work:
    """Counted as direct convolutions and products. Shapes must be static."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
              for v in (*graph.input, *graph.value_info, *graph.output)}
    shapes |= {t.name: tuple(t.dims) for t in graph.initializer}
    floats = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    return Work(multiply_adds=sum(_multiply_adds(node, shapes) for node in graph.node),
                weight_bytes=sum(4 * _count(t.dims) for t in floats))


def _multiply_adds(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    if node.op_type == "Conv":  # weights: out, in / groups, then the kernel
        return _count(shapes[node.output[0]]) * _count(shapes[node.input[1]][1:])
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return _count(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else 1]
    if node.op_type == "MatMul":
        return _count(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return 0


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def floors(work: Work, rates: Rates) -> dict[str, float]:
    return {"multiply_adds": rates.floor_ms(2 * work.multiply_adds, 0), "weights": rates.floor_ms(0, work.weight_bytes)}


def engine_figures(rounds: Sequence[Sequence[int]], counted: Sequence[int],
                   difference: float | None) -> dict[str, Any]:
    """difference: to ONNX Runtime's output, relative to its range; None when they cannot be compared."""
    return {**timings(rounds, counted), "difference": difference,
            "agrees": difference is not None and difference <= AGREES}


def timings(rounds: Sequence[Sequence[int]], counted: Sequence[int]) -> dict[str, Any]:
    """Of the nanoseconds of the rounds `counted`. Raw samples of all are kept as a line for each."""
    ms = [ns / 1e6 for number in counted for ns in rounds[number]]
    return {"p50_ms": percentile(ms, 50), "min_ms": min(ms), "runs": len(ms),
            "samples_ns": [" ".join(map(str, samples)) for samples in rounds]}


def ratios(engines: Mapping[str, Row]) -> dict[str, Any]:
    """edgecls over each peer and over the fastest, of medians and of minima. Peers that are wrong do not count."""
    ours = engines.get(OURS, {})
    peers = {n: e for n, e in engines.items() if n not in (OURS, AGAIN) and e.get("agrees")}
    if "p50_ms" not in ours or not peers:
        return {"p50": {}, "min": {}, "fastest": None, "to_fastest_p50": None, "to_fastest_min": None}
    fastest = min(peers, key=lambda n: float(peers[n]["p50_ms"]))
    return {"p50": {n: ours["p50_ms"] / e["p50_ms"] for n, e in peers.items()},
            "min": {n: ours["min_ms"] / e["min_ms"] for n, e in peers.items()}, "fastest": fastest,
            "to_fastest_p50": ours["p50_ms"] / peers[fastest]["p50_ms"],
            "to_fastest_min": ours["min_ms"] / min(e["min_ms"] for e in peers.values())}


def noise_band(engines: Mapping[str, Row]) -> dict[str, float] | None:
    """How far two workers of one and the same bundle differ."""
    pair = [engines[n] for n in (OURS, AGAIN) if "p50_ms" in engines.get(n, {})]
    return {k: spread([e[f"{k}_ms"] for e in pair]) for k in ("p50", "min")} if len(pair) == 2 else None


def reasons(engines: Mapping[str, Row], threads: int, facts: tuple[DeviceFacts, DeviceFacts],
            peaks: Sequence[float], counted: Sequence[int], foreign_cpus: float) -> list[str]:
    """Why the row is not to be trusted; [] when it is. peaks, counted: as for `disturbances`.

    facts: before and after. Their load is not looked at, as compiling has left it high: instead foreign_cpus says how
    many CPUs other programs kept busy on average.
    """
    band = noise_band(engines)
    if band is None:
        found = ["edgecls did not run twice"]
    else:
        before, after = (msgspec.structs.replace(f, load=None) for f in facts)
        lines = engines[OURS]["samples_ns"]
        ms = [int(ns) / 1e6 for number in counted for ns in lines[number].split()]
        found, _ = latency_reasons(ms, NoiseBand(median=band["p50"], minimum=band["min"]), threads, before, after,
                                   Limits())
    found += disturbances(peaks, counted, foreign_cpus)
    found += [f"{name} is wrong" for name in (OURS, AGAIN) if not engines.get(name, {}).get("agrees", True)]
    return found


def geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(map(log, values)) / len(values))
