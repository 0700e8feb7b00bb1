"""What every conformance test needs: the optimised model, its bundle and the device, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecls.backends.registry import get_backend
from edgecls.bundle import open_bundle
from edgecls.devices import open_device
from edgecls.interfaces import Device
from edgecls.passes import optimize_graph
from edgecls.targets import native_target
from edgecls.types import Artifact, ExportedGraph, OptimizedGraph, Target
from tests.models import MODELS

Compile = Callable[..., Artifact]


@pytest.fixture(scope="session")
def target() -> Target:
    return native_target()


@pytest.fixture(scope="session")
def device(target: Target) -> Iterator[Device]:
    with open_device("local", target) as opened:
        yield opened


@pytest.fixture(scope="session")
def compile_model(tmp_path_factory: pytest.TempPathFactory, target: Target) -> Compile:
    """compile_model(backend, model name, batches) -> verified Artifact; equal requests share one bundle."""
    made: dict[tuple[str, str, tuple[int, ...]], Artifact] = {}

    def compile_once(backend: str, model: str, batches: tuple[int, ...] = (1,)) -> Artifact:
        key = (backend, model, batches)
        if key not in made:
            path = tmp_path_factory.mktemp("bundle") / f"{backend}_{model}.ecls"
            made[key] = open_bundle(compile_to(backend, MODELS[model](), target, path, batches).path)
        return made[key]

    return compile_once


def compile_to(backend: str, graph: ExportedGraph | OptimizedGraph, target: Target, path: Path,
               batches: tuple[int, ...] = (1,)) -> Artifact:
    chosen = get_backend(backend)
    optimised = optimize_graph(graph, batches) if isinstance(graph, ExportedGraph) else graph
    return chosen.compile(optimised, target, chosen.options_type(), path)
