from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_model import TinyModel

from edgecls.toolchain import find_toolchain
from edgecls.types import Arch, Artifact


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Artifact]:
    """(arch, **TinyModel arguments) -> the bundle, made once."""
    made: dict[object, Artifact] = {}

    def make(arch: Arch, **arguments: int | str) -> Artifact:
        key = (arch, *sorted(arguments.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("tiny")
            made[key] = TinyModel(**arguments).bundle(folder / "tiny.ecls", folder, find_toolchain(arch))  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of edgecls."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgecls"
