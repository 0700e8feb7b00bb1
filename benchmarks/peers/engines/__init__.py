"""The engines that are compared, each in a file of its own that runs in a worker process.

An engine's module has `Engine` (see base.py) and, where the engine has a format of its own, `convert`. Nothing here
imports an engine: that is the worker's business.
"""

from __future__ import annotations

from typing import NamedTuple


class Recipe(NamedTuple):
    """name: of the module in this folder. packages, converters: what pip installs to run it, and to convert for it.

    without_dependencies: converters that work alone, although they name packages of gigabytes as theirs.
    own_converter_venv: the converters' dependencies exclude those of the other packages.
    """

    title: str
    name: str
    packages: tuple[str, ...] = ()
    converters: tuple[str, ...] = ()
    without_dependencies: bool = False
    own_converter_venv: bool = False

    @property
    def module(self) -> str:
        return f"{__name__}.{self.name}"


OURS, AGAIN = "edgecls", "edgecls-again"
RECIPES: dict[str, Recipe] = {
    OURS: Recipe("edgecls", "ours"),
    AGAIN: Recipe("edgecls again", "ours"),
    "onnxruntime": Recipe("ONNX Runtime", "onnx_runtime", ("onnxruntime",)),
    "openvino": Recipe("OpenVINO", "openvino", ("openvino",)),
    "ncnn": Recipe("ncnn", "ncnn", ("ncnn",), ("pnnx",), without_dependencies=True),
    "mnn": Recipe("MNN", "mnn", ("MNN",)),
    "litert": Recipe("LiteRT", "litert", ("ai-edge-litert",), ("onnx2tf<2",), own_converter_venv=True),
}
PEERS = tuple(name for name in RECIPES if name not in (OURS, AGAIN))
