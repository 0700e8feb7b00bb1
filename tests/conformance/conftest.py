"""What every conformance test needs: the optimised model, its bundle and the device, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edgecls.backends.registry import get_backend
from edgecls.backends.tensorrt.build import Place, facts
from edgecls.bundle import open_bundle
from edgecls.devices import open_device
from edgecls.interfaces import Device
from edgecls.passes import optimize_graph
from edgecls.targets import native_target
from edgecls.types import Artifact, ExportedGraph, Gpu, OptimizedGraph, Target
from tests.backends.tensorrt.conftest import needs_rtx
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


def suited(backend: str, target: Target) -> Target:
    """`target`, with the GPU that a GPU's backend asks for: this machine's, else one that can be built for anywhere."""
    if backend != "tensorrt":
        return target
    found = facts(Place())["gpu"]
    gpu = Gpu(name=found.get("name", "RTX 3060"), compute_capability=found.get("compute_capability", "8.6"),
              memory_mb=found.get("memory_mb", 12288), rtx=True)
    return msgspec.structs.replace(target, gpu=gpu)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What opens a session of tensorrt needs a GPU; what only compiles needs its library."""
    for item in items:
        call = getattr(item, "callspec", None)
        if call is not None and call.params.get("backend") == "tensorrt":
            item.add_marker(pytest.mark.gpu if "device" in getattr(item, "fixturenames", ()) else needs_rtx)


def compile_to(backend: str, graph: ExportedGraph | OptimizedGraph, target: Target, path: Path,
               batches: tuple[int, ...] = (1,)) -> Artifact:
    chosen = get_backend(backend)
    optimised = optimize_graph(graph, batches) if isinstance(graph, ExportedGraph) else graph
    return chosen.compile(optimised, suited(backend, target), chosen.options_type(), path)
