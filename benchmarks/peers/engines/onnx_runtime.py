"""ONNX Runtime with its CPU provider."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from benchmarks.peers.engines.base import Array, BaseEngine


class Engine(BaseEngine):
    def __init__(self, model: Path, threads: int, tensor: Array) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = [self._session.get_outputs()[0].name]
        self._feed = {self._session.get_inputs()[0].name: tensor}

    def infer(self) -> None:
        self._outputs = self._session.run(self._names, self._feed)

    def output(self) -> Array:
        result: Array = self._outputs[0]
        return result
