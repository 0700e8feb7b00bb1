"""A small network compiled for each ISA, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.bundle import open_bundle
from edgecls.passes import optimize_graph
from edgecls.targets import load_target
from edgecls.types import Artifact
from tests.models import MODELS

Compile = Callable[..., Artifact]


@pytest.fixture(scope="session")
def compile_tvm(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """compile_tvm(model, target, static=False) -> verified Artifact; equal requests share one bundle."""
    made: dict[tuple[str, str, bool], Artifact] = {}

    def compile_once(model: str, target: str, *, static: bool = False) -> Artifact:
        if (model, target, static) not in made:
            path = tmp_path_factory.mktemp("tvm") / f"{model}.ecls"
            made[model, target, static] = compile_to(path, model, target, static=static)
        return made[model, target, static]

    return compile_once


def compile_to(path: Path, model: str, target: str, *, static: bool = False) -> Artifact:
    graph = optimize_graph(MODELS[model](), (1, 3) if model == "classifier" else (1,))
    return open_bundle(TvmBackend().compile(graph, load_target(target), CompileOptions(static=static), path).path)
