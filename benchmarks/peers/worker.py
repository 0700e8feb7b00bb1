"""The process that holds one engine; started by workers.py, in the engine's own virtual environment.

    worker convert MODULE ONNX FOLDER SHAPE           prints the file to load
    worker serve MODULE MODEL THREADS INPUT OUTPUT    answers each line {"warmup", "runs"} with a line of nanoseconds

All it says is one line of JSON; whatever an engine prints goes to standard error, whose last line is why it failed.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import TextIO

import numpy as np


def convert(answers: TextIO, module: str, onnx: str, folder: str, shape: str) -> None:
    """With at most half of the machine's memory, so that a converter that wants more fails, and nothing else does."""
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    resource.setrlimit(resource.RLIMIT_DATA, (half, half))
    made = importlib.import_module(module).convert(Path(onnx), Path(folder), shape)
    if not made.is_file():
        raise FileNotFoundError(f"the converter made no {made.name}")
    _answer(answers, str(made))


def serve(answers: TextIO, module: str, model: str, threads: str, tensor: str, output: str) -> None:
    engine = importlib.import_module(module).Engine(Path(model), int(threads), np.load(tensor))
    engine.infer()
    np.save(output, np.asarray(engine.output(), np.float32))
    _answer(answers, "ready")
    for line in sys.stdin:
        asked = json.loads(line)
        _answer(answers, engine.measure(asked["warmup"], asked["runs"]))


def _answer(answers: TextIO, value: object) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


if __name__ == "__main__":
    answering = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        (convert if sys.argv[1] == "convert" else serve)(answering, *sys.argv[2:])
    except Exception as error:
        traceback.print_exc()
        sys.exit(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
