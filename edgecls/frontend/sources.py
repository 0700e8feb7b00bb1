"""The forms that SOURCE may take on the command line."""

from __future__ import annotations

import re
from pathlib import Path

from edgecls.errors import ModelError
from edgecls.frontend.from_factory import from_factory
from edgecls.frontend.from_huggingface import from_huggingface
from edgecls.frontend.from_pt2 import from_pt2
from edgecls.frontend.from_timm import from_timm
from edgecls.frontend.from_torchvision import from_torchvision
from edgecls.frontend.onnx_file import load_onnx
from edgecls.frontend.options import ExportOptions
from edgecls.frontend.torch_export import export_trained
from edgecls.interfaces import Progress, silent
from edgecls.types import ExportedGraph

FORMS = "timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER, FILE.pt2, package.module:factory, FILE.onnx"
_ZOOS = {"timm": from_timm, "torchvision": from_torchvision, "hf": from_huggingface}
_FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def export_source(source: str, options: ExportOptions | None = None, progress: Progress = silent) -> ExportedGraph:
    """A trained model in any of FORMS -> ONNX with its contract, checked. Raises EdgeclsError."""
    options = options or ExportOptions()
    kind, _, name = source.partition(":")
    if source.endswith(".onnx"):
        return load_onnx(Path(source), options)
    progress("loading the network", 0, 1)
    if kind in _ZOOS and name:
        trained = _ZOOS[kind](name, options)
    elif source.endswith(".pt2"):
        trained = from_pt2(Path(source), options)
    elif _FACTORY.fullmatch(source) and kind not in _ZOOS:
        trained = from_factory(source, options)
    else:
        raise ModelError(f"{source!r} is not a model source", f"give one of: {FORMS}")
    progress("loading the network", 1, 1)
    return export_trained(trained, options, progress)
