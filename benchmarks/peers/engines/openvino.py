"""OpenVINO, one latency stream, held to float32 where the CPU could do less."""

from __future__ import annotations

from pathlib import Path

import openvino

from benchmarks.peers.engines.base import Array, BaseEngine


class Engine(BaseEngine):
    def __init__(self, model: Path, threads: int, tensor: Array) -> None:
        self._tensor = openvino.Tensor(tensor, shared_memory=True)
        self._compiled = openvino.Core().compile_model(model, "CPU", {
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32"})
        self._request = self._compiled.create_infer_request()
        self._request.set_input_tensor(self._tensor)

    def infer(self) -> None:
        self._request.infer(share_outputs=True)

    def output(self) -> Array:
        result: Array = self._request.get_output_tensor(0).data.copy()
        return result
