"""ncnn in float32, converted by pnnx."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.peers.engines.base import Array, BaseEngine


def convert(onnx: Path, folder: Path, shape: str) -> Path:
    spec = importlib.util.find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("pnnx is not installed")
    files = {f"{kind}{suffix}": folder / f"{kind}.{suffix}" for kind, suffix in (
        ("pnnx", "param"), ("pnnx", "bin"), ("pnnx", "py"), ("pnnx", "onnx"), ("ncnn", "param"), ("ncnn", "bin"),
        ("ncnn", "py"))}
    program = Path(spec.origin).with_name("pnnx")  # importing the package would need PyTorch, the program does not
    subprocess.run([program, onnx, f"inputshape=[{shape}]", "fp16=0", *(f"{k}={v}" for k, v in files.items())],
                   check=True, cwd=folder)
    return files["ncnnparam"]


class Engine(BaseEngine):
    def __init__(self, model: Path, threads: int, tensor: Array) -> None:
        import ncnn

        self._net, self._mat = ncnn.Net(), ncnn.Mat
        options = self._net.opt
        options.num_threads = threads
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        if self._net.load_param(str(model)) or self._net.load_model(str(model.with_suffix(".bin"))):
            raise ValueError(f"ncnn does not load {model.name}")
        self._input, self._output = self._net.input_names()[0], self._net.output_names()[0]
        self._tensor = tensor[0]

    def infer(self) -> None:
        extractor = self._net.create_extractor()
        extractor.input(self._input, self._mat(self._tensor))
        self._status, self._result = extractor.extract(self._output)

    def output(self) -> Array:
        if self._status:
            raise RuntimeError(f"ncnn's inference ended with status {self._status}")
        return np.array(self._result)[None]
