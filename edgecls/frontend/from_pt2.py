"""FILE.pt2 -> the program that torch.export.save wrote.

torch.export.load unpickles some parts of such a file. Those are refused here before torch sees the file: pickled
weights and constants, objects, and sample inputs that are more than tensors. What remains is trusted: the graph
itself is a program, so a .pt2 of unknown origin should not be opened.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from edgecls.errors import ModelError, first_line
from edgecls.frontend.options import ExportOptions
from edgecls.frontend.torch_tools import Trained, quiet, require
from edgecls.read import read_regular

_MAX_BYTES = 4 << 30
_SAVE_AGAIN = "write it again with torch.export.save(torch.export.export(model.eval(), inputs), FILE)"


def from_pt2(path: Path, options: ExportOptions) -> Trained:
    """Raises ModelError for what is no such file, or holds pickled objects; MissingExtraError."""
    torch = require("torch", "export")
    if options.weights:
        raise ModelError(f"{path}: a .pt2 file has its weights inside", "leave --weights out")
    try:
        data = read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}", "check the path") from None
    _refuse_pickles(torch, path, data)
    try:
        with quiet():
            program = torch.export.load(io.BytesIO(data))
        arguments, keywords = program.example_inputs
    except Exception as error:  # torch's reader raises whatever a broken file makes it trip over
        raise ModelError(f"{path}: torch cannot load it: {first_line(error)}", _SAVE_AGAIN) from None
    if keywords or not arguments or not all(isinstance(a, torch.Tensor) for a in arguments):
        raise ModelError(f"{path}: takes other inputs than tensors in order",
                         "export a network whose forward takes tensors only")
    return Trained(model=program, example=tuple(arguments), source=str(path), notes=("loaded with torch.export.load",))


def _refuse_pickles(torch: Any, path: Path, data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names) or not any(n.endswith("/archive_format") for n in names):
                raise ModelError(f"{path}: is not a .pt2 archive of torch 2.8 or newer", _SAVE_AGAIN)
            for name in names:
                inner = name.partition("/")[2]
                if inner.startswith("data/") and inner.endswith("_config.json"):
                    _refuse_pickled_payloads(path, json.loads(archive.read(name)))
                elif inner.startswith(("data/weights/", "data/constants/")) and inner.endswith(".pt"):
                    raise ModelError(f"{path}: has pickled weights ({name})", _SAVE_AGAIN)
                elif inner.startswith("data/sample_inputs/"):
                    with quiet():
                        torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    except ModelError:
        raise
    except Exception as error:  # zip, JSON and unpickling each have their own kinds
        raise ModelError(f"{path}: is not a .pt2 file that can be read without running code from it: "
                         f"{first_line(error)}", _SAVE_AGAIN) from None


def _refuse_pickled_payloads(path: Path, config: Any) -> None:
    for name, payload in config["config"].items():
        plain = payload["path_name"].startswith(("weight_", "tensor_"))
        if payload["use_pickle"] is not False or not plain:
            raise ModelError(f"{path}: {name!r} is a pickled object", _SAVE_AGAIN)
