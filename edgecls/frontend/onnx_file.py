"""An existing .onnx file -> ExportedGraph, and back."""

from __future__ import annotations

from pathlib import Path

from edgecls.errors import ModelError
from edgecls.frontend.assemble import assemble
from edgecls.frontend.onnx_clean import clean
from edgecls.frontend.onnx_read import read_onnx
from edgecls.frontend.options import ExportOptions
from edgecls.output import write_beside
from edgecls.types import ExportedGraph


def load_onnx(path: Path, options: ExportOptions | None = None) -> ExportedGraph:
    """Take an ONNX file as it is, made safe: see onnx_read (files), onnx_clean (graph), assemble (contract).

    A contract in its metadata is kept, except for what `options` override. Raises ModelError and ContractError.
    """
    options = options or ExportOptions()
    if options.weights:
        raise ModelError(f"{path}: an ONNX file has its weights inside", "leave --weights out")
    model = read_onnx(path)
    notes = clean(model, str(path), options.input_size)
    return assemble(model, options, str(path), notes=notes)


def save_onnx(graph: ExportedGraph, path: Path) -> None:
    """Write beside and rename. Raises OutputError."""
    write_beside(path, [graph.onnx])
