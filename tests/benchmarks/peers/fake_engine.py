"""An engine for tests: its model file says what it does."""

from __future__ import annotations

import os
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path

from benchmarks.peers.engines.base import Array, BaseEngine


def convert(onnx: Path, folder: Path, shape: str) -> Path:
    print("a converter may say what it likes")
    made = folder / "model"
    if onnx.read_text() == "huge":
        mmap(-1, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2, MAP_PRIVATE | MAP_ANONYMOUS)
    if onnx.read_text() != "nothing":
        made.write_text(f"{onnx.read_text()} {shape}")
    return made


class Engine(BaseEngine):
    def __init__(self, model: Path, threads: int, tensor: Array) -> None:
        print("an engine may say what it likes")
        self._does = model.read_text()
        self._tensor, self._runs = tensor * threads, 0
        if self._does == "cannot load":
            raise ValueError("no such operator\nwhere:\n}")

    def infer(self) -> None:
        self._runs += 1
        if self._does == "dies late" and self._runs > 3:
            raise SystemExit(3)

    def output(self) -> Array:
        return self._tensor
