"""ONNX Runtime behind the Session protocol.

As the oracle it runs with its graph optimisations off: each node is computed by its own kernel, as the ONNX
specification words it, so an error of a fusion can be on one side of a comparison only.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from edgecls.backends.host_session import HostSession, check_threads
from edgecls.contract import Contract
from edgecls.errors import DataError, ModelError, first_line
from edgecls.half_rounding import spell_out_rounding
from edgecls.oracle import import_onnxruntime
from edgecls.output import work_folder
from edgecls.types import Array, DeviceFacts, ExportedGraph, KernelTime, Layer, OptimizedGraph, TensorSpec

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
           **{f"tensor({t})": t for t in ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")}}


def open_onnxruntime(model: bytes, threads: int, *, optimize: bool = False, profile: str | None = None) -> Any:
    """An onnxruntime.InferenceSession on the CPU. Raises ModelError when ONNX Runtime refuses the model.

    optimize: ONNX Runtime's own graph optimisations. profile: prefix of the file its profiler writes.
    """
    ort = import_onnxruntime()

    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    try:
        if not optimize:  # ONNX Runtime's own optimisations would take the rounding out again
            model = spell_out_rounding(onnx.load_from_string(model)).SerializeToString()
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise ModelError(f"ONNX Runtime cannot load the network: {first_line(error)}",
                         "check the model with `edgecls check`, or export it again") from None


def tensor_specs(values: Sequence[Any]) -> tuple[TensorSpec, ...]:
    """ONNX Runtime's description of inputs or outputs. Raises ModelError for a shape that is not fixed."""
    specs = []
    for value in values:
        if value.type not in _DTYPES or not all(isinstance(n, int) for n in value.shape):
            raise ModelError(f"{value.name!r} is a {value.type} of shape {value.shape}, not numbers of a fixed shape",
                             "export the network with fixed sizes")
        specs.append(TensorSpec(name=value.name, dtype=_DTYPES[value.type], shape=tuple(value.shape)))
    return tuple(specs)


class ReferenceSession(HostSession):
    """models: batch -> serialised ModelProto. layers: of the manifest, for profile()."""

    def __init__(self, models: Mapping[int, bytes], contract: Contract, artifact_hash: str, threads: int,
                 facts: Callable[[], DeviceFacts], *, optimize: bool = False, layers: Sequence[Layer] = ()) -> None:
        check_threads(threads)
        self._models = dict(models)
        self._optimize = optimize
        self._layers = layers
        self._runtimes = {b: open_onnxruntime(m, threads, optimize=optimize) for b, m in models.items()}
        plans = {b: (tensor_specs(r.get_inputs()), tensor_specs(r.get_outputs())) for b, r in self._runtimes.items()}
        super().__init__(plans, contract, artifact_hash, threads, facts)

    def _invoke(self, batch: int, feed: dict[str, Array]) -> dict[str, Array]:
        names = [spec.name for spec in self.outputs]
        try:
            results = self._runtimes[batch].run(names, feed)
        except Exception as error:  # as above
            raise ModelError(f"ONNX Runtime cannot run the network: {first_line(error)}",
                             "check the model with `edgecls check`, or export it again") from None
        return dict(zip(names, results, strict=True))

    def profile(self, runs: int = 10) -> list[KernelTime]:
        """Mean time of each node at the smallest batch; [] when ONNX Runtime's optimisations have merged nodes."""
        self._check_open()
        if self._optimize or not self._layers:
            return []
        if not 1 <= runs <= 1_000_000:
            raise DataError(f"a profile over {runs} runs is not possible", "choose 1 to 1000000 runs")
        batch = self.batches[0]
        with work_folder() as folder:
            runtime = open_onnxruntime(self._models[batch], self.threads, profile=str(folder / "profile"))
            feed = self._input(batch)
            for _ in range(runs):
                runtime.run(None, feed)
            events = json.loads(Path(runtime.end_profiling()).read_bytes())
        total: dict[str, int] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                node = event["name"].removesuffix("_kernel_time")
                total[node] = total.get(node, 0) + event["dur"]
        return [KernelTime(layer=layer.index, kernel=layer.kernel, mean_ns=total[layer.onnx_nodes[0]] * 1000 / runs,
                           runs=runs) for layer in self._layers
                if layer.batch == batch and layer.onnx_nodes[0] in total]

    def close(self) -> None:
        super().close()
        self._runtimes.clear()
        self._models.clear()


def reference_session(graph: ExportedGraph | OptimizedGraph, threads: int = 1) -> ReferenceSession:
    """The oracle for `graph` without a bundle. An ExportedGraph must have a fixed batch. Raises ModelError."""
    if isinstance(graph, OptimizedGraph):
        models = graph.onnx
    else:
        (spec, *_) = tensor_specs(open_onnxruntime(graph.onnx, threads).get_inputs())
        models = {spec.shape[0] if spec.shape else 1: graph.onnx}
    return ReferenceSession(models, graph.contract, graph.hash, threads, _host_facts)


def _host_facts() -> DeviceFacts:
    return DeviceFacts(name="local", machine=platform.machine(), emulated=False, cores=os.cpu_count(),
                       kernel=platform.release(), os=platform.system())
