"""Trained model -> ExportedGraph: an ONNX graph that carries its Contract."""

from edgecls.frontend.lite0 import export_lite0
from edgecls.frontend.onnx_file import load_onnx, save_onnx
from edgecls.frontend.options import ExportOptions, parse_size
from edgecls.frontend.torch_export import export_onnx

__all__ = ["ExportOptions", "export_lite0", "export_onnx", "load_onnx", "parse_size", "save_onnx"]
