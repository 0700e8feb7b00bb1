"""Trained model -> ExportedGraph: an ONNX graph that carries its Contract."""

from edgecls.frontend.lite0 import export_lite0
from edgecls.frontend.onnx_file import load_onnx, save_onnx
from edgecls.frontend.options import ExportOptions, parse_size
from edgecls.frontend.presets import PRESETS
from edgecls.frontend.sources import FORMS, export_source
from edgecls.frontend.torch_export import export_onnx

__all__ = [
    "FORMS",
    "PRESETS",
    "ExportOptions",
    "export_lite0",
    "export_onnx",
    "export_source",
    "load_onnx",
    "parse_size",
    "save_onnx",
]
