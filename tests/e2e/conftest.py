"""Networks as ONNX files: from the folder EDGECLS_ZOO (as `python -m benchmarks.models` fills it), else exported."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.models import LITE0, model_file

WITHOUT_ZOO = (LITE0, "lenet5")


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """network(name): its ONNX file."""
    given = os.environ.get("EDGECLS_ZOO")
    folder = Path(given) if given else tmp_path_factory.mktemp("networks")

    def find(name: str) -> Path:
        package = next((p for p in ("torchvision", "timm") if find_spec(p) is None), None)
        if not (folder / f"{name}.onnx").is_file() and name not in WITHOUT_ZOO and package:
            pytest.skip(f"{name} needs {package}: pip install 'edgecls[zoo]', or set EDGECLS_ZOO to a folder that has "
                        f"{name}.onnx")
        return model_file(name, folder)

    return find
