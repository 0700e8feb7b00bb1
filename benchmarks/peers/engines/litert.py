"""LiteRT with its default delegate (XNNPACK), converted by onnx2tf. Images are height x width x channels there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.peers.engines.base import Array, BaseEngine

_SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"


def convert(onnx: Path, folder: Path, shape: str) -> Path:
    """onnx2tf would download images to try its result on; it takes a file of that name instead, here random ones."""
    np.save(folder / _SAMPLES, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
    programs = Path(sys.executable).parent
    subprocess.run([programs / "onnx2tf", "-i", onnx, "-o", "tf", "-n", "-dsm"], check=True, cwd=folder,
                   env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})
    return next((folder / "tf").glob("*_float32.tflite"))


class Engine(BaseEngine):
    def __init__(self, model: Path, threads: int, tensor: Array) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(model), num_threads=threads)
        self._interpreter.allocate_tensors()
        there = self._interpreter.get_input_details()[0]
        if tuple(there["shape"]) != tensor.shape:
            tensor = np.ascontiguousarray(np.moveaxis(tensor, 1, -1))
        self._interpreter.set_tensor(there["index"], tensor)

    def infer(self) -> None:
        self._interpreter.invoke()

    def output(self) -> Array:
        result: Array = self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])
        return result
