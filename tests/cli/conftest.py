"""The command line called in this process, and a tiny classifier with a known answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from PIL import Image

from edgecls.cli.main import run


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = run([str(a) for a in arguments])
        return Outcome(status, *capsys.readouterr())

    return call


LABELS = ("dark", "red", "green", "blue")
"""What the tiny network can tell apart: the strongest colour, or none."""


def tiny_network(height: int | str = 16, width: int | str = 16, op: str = "Relu") -> onnx.ModelProto:
    """Three convolutions that find the strongest colour channel; exact enough to have a known answer."""
    generator = np.random.default_rng(7)
    sharpen = generator.normal(0, 0.05, (8, 3, 3, 3)).astype(np.float32)
    for channel in range(3):
        sharpen[channel, channel, 1, 1] = 2.0
    head = generator.normal(0, 0.01, (4, 8)).astype(np.float32)
    head[0, :3], head[1, 0], head[2, 1], head[3, 2] = -1.0, 3.0, 3.0, 3.0
    constants = [
        onnx.numpy_helper.from_array(sharpen, "conv.weight"),
        onnx.numpy_helper.from_array(head, "head.weight"),
        onnx.numpy_helper.from_array(np.array([1.5, 0, 0, 0], np.float32), "head.bias"),
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["image", "conv.weight"], ["a"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        onnx.helper.make_node(op, ["a"], ["b"], "act"),
        onnx.helper.make_node("GlobalAveragePool", ["b"], ["c"], "pool"),
        onnx.helper.make_node("Flatten", ["c"], ["d"], "flatten"),
        onnx.helper.make_node("Gemm", ["d", "head.weight", "head.bias"], ["logits"], "head", transB=1),
    ]
    graph = onnx.helper.make_graph(
        nodes, "tiny", [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, height, width])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 4])], constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)


class Road(NamedTuple):
    """A folder with everything the commands need. model: exported, with its contract."""

    folder: Path
    raw: Path
    model: Path
    data: Path
    images: list[Path]


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    folder = tmp_path_factory.mktemp("road")
    raw, model = folder / "raw.onnx", folder / "model.onnx"
    onnx.save(tiny_network(), raw)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    (folder / "preprocess.json").write_text('{"resize": 18, "crop": [16, 16], "interpolation": "bilinear"}')
    generator = np.random.default_rng(3)
    images = []
    for index, label in enumerate(LABELS):
        (folder / "data" / label).mkdir(parents=True)
        for n, (width, height) in enumerate([(40, 30), (17, 61)]):
            pixels = generator.integers(0, 30, (height, width, 3))
            if index:
                pixels[..., index - 1] += 180
            path = folder / "data" / label / f"{n}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            images.append(path)
    assert run(["export", str(raw), "-o", str(model), "--labels", str(folder / "labels.txt"), "--preprocess",
                str(folder / "preprocess.json"), "--quiet"]) == 0
    return Road(folder, raw, model, folder / "data", images)
