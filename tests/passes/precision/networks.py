"""Networks and images for the tests of precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from PIL import Image

from edgecls.types import Array, ExportedGraph, OptimizedGraph
from tests.models import Builder, convolution


def save_images(folder: Path, count: int = 5) -> Path:
    """Seeded noise with a colour cast, of odd sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    for i in range(count):
        pixels = random.integers(0, 120, (41 + i, 53 - i, 3)) + random.integers(0, 130, 3)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def overflowing() -> ExportedGraph:
    """Its scale/unscale pair leaves float16's range in the middle; everything else is well-behaved."""
    b = Builder()
    x = b.node("Relu", convolution(b.input("x", ("batch", 3, 9, 7)), b, 3, 5), name="before")
    x = b.node("Mul", x, b.constant(6e4, np.float32), name="scale")
    x = b.node("Div", x, b.constant(6e4, np.float32), name="unscale")
    b.output(convolution(x, b, 5, 4), "y")
    return b.finish()


def large_constant(weight: float, factor: float) -> ExportedGraph:
    """Conv -> Flatten -> Mul, whose weights are of size `weight` and which multiplies by `factor`."""
    b = Builder()
    x = b.node("Conv", b.input("x", ("batch", 3, 4, 4)), b.constant(
        np.random.default_rng(0).standard_normal((10, 3, 4, 4)).astype(np.float32) * np.float32(weight), np.float32),
        name="conv")
    b.output(b.node("Mul", b.node("Flatten", x, name="flatten"), b.constant(factor, np.float32), name="mul"), "y")
    return b.finish()


def masked() -> ExportedGraph:
    """Values beyond float16's range that a Clip makes finite again: its bounds are beyond it as well."""
    b = Builder()
    x = b.node("Mul", b.input("x", ("batch", 3, 4, 4)), b.constant(1e5, np.float32), name="scale")
    x = b.node("Clip", x, b.constant(-1e5, np.float32), b.constant(1e5, np.float32), name="clip")
    b.output(b.node("Mul", x, b.constant(1e-6, np.float32), name="unscale"), "y")
    return b.finish()


def parsed(graph: OptimizedGraph, batch: int = 1) -> onnx.ModelProto:
    return onnx.load_from_string(graph.onnx[batch])


def constants(model: onnx.ModelProto) -> dict[str, Array]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
