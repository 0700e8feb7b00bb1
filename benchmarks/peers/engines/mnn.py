"""MNN in float32. Its session interface is used, which copies neither input nor output while it infers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.peers.engines.base import Array, BaseEngine


def convert(onnx: Path, folder: Path, shape: str) -> Path:
    import _tools  # MNN's converter itself; its command line also reports to its makers and installs packages for that

    model = folder / "model.mnn"
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(onnx), "--MNNModel", str(model),
                       "--bizCode", "edgecls"])
    return model


class Engine(BaseEngine):
    def __init__(self, model: Path, threads: int, tensor: Array) -> None:
        import MNN

        self._net = MNN.Interpreter(str(model))
        self._session = self._net.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
        self._kind, self._layout, self._tensor = MNN.Halide_Type_Float, MNN.Tensor_DimensionType_Caffe, MNN.Tensor
        self._net.getSessionInput(self._session).copyFrom(
            MNN.Tensor(tensor.shape, self._kind, tensor, self._layout))

    def infer(self) -> None:
        self._net.runSession(self._session)

    def output(self) -> Array:
        there = self._net.getSessionOutput(self._session)
        shape = there.getShape()
        here = self._tensor(shape, self._kind, np.zeros(shape, np.float32), self._layout)
        there.copyToHostTensor(here)
        return np.reshape(np.array(here.getData(), np.float32), shape)
