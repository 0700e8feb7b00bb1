"""LiteRT with its default delegate (XNNPACK), converted by onnx2tf. Images are height x width x channels there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.engines.base import Array, BaseEngine

_SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"


def convert(onnx: Path, folder: Path, shape: str) -> Path:
    """Only into float32, and only into LiteRT's own operators, as its package runs no others.

    onnx2tf simplifies the file it is given in place, by a program of its environment, so that it gets a copy. It would
    download images to try its result on; it takes a file of that name instead, here random ones.
    """
    os.chdir(folder)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    from onnx import load, save
    from onnx2tf import convert as to_keras
    from tensorflow import lite

    np.save(_SAMPLES, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
    network = load(onnx)
    _halve_first(network)
    copy = folder / "model.onnx"
    save(network, copy)
    keras = to_keras(input_onnx_file_path=str(copy), output_folder_path="tf", disable_strict_mode=True,
                     disable_model_save=True, non_verbose=True)
    copy.unlink()
    made = folder / "model.tflite"
    made.write_bytes(lite.TFLiteConverter.from_keras_model(keras).convert())
    return made


def _halve_first(network: Any) -> None:
    """x * (0.5 * (1 + erf)) becomes (0.5 * x) * (1 + erf): in no other order LiteRT's converter knows GELU."""
    makers = {node.output[0]: node for node in network.graph.node}

    def kind(name: str) -> str:
        return makers[name].op_type if name in makers else ""

    for product in network.graph.node:
        if product.op_type == "Mul" and kind(product.input[1]) == "Mul":
            halved = makers[product.input[1]]
            plus = halved.input[1]
            if kind(plus) == "Add" and kind(makers[plus].input[0]) == "Erf":
                halved.input[1] = product.input[0]
                product.input[0], product.input[1] = halved.output[0], plus


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
