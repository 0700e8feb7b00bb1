"""What every conformance test needs: the optimised model, its bundle and the device, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edgecls.backends.registry import get_backend
from edgecls.bundle import open_bundle
from edgecls.devices import open_device
from edgecls.interfaces import Device, Finishing
from edgecls.passes import optimize_graph
from edgecls.targets import native_target
from edgecls.types import Artifact, ExportedGraph, Gpu, OptimizedGraph, Target
from tests.backends.tensorrt import machine
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
def bundles(tmp_path_factory: pytest.TempPathFactory, target: Target) -> Compile:
    """bundles(backend, model name, batches, device) -> verified Artifact; equal requests share one bundle."""
    made: dict[tuple[object, ...], Artifact] = {}

    def compile_once(backend: str, model: str, batches: tuple[int, ...], device: Device | None) -> Artifact:
        key = (backend, model, batches, device is not None and backend == "tensorrt")
        if key not in made:
            path = tmp_path_factory.mktemp("bundle") / f"{backend}_{model}.ecls"
            made[key] = open_bundle(compile_to(backend, MODELS[model](), target, path, batches, device).path)
        return made[key]

    return compile_once


@pytest.fixture
def compile_model(request: pytest.FixtureRequest, bundles: Compile) -> Compile:
    """compile_model(backend, model name, batches) -> Artifact, which opens on the device of the test that has one."""
    device = request.getfixturevalue("device") if "device" in request.fixturenames else None

    def compile_for_test(backend: str, model: str, batches: tuple[int, ...] = (1,)) -> Artifact:
        return bundles(backend, model, batches, device)

    return compile_for_test


def suited(backend: str, target: Target) -> Target:
    """`target`, with a GPU that can be built for anywhere where the backend is a GPU's."""
    if backend != "tensorrt":
        return target
    return msgspec.structs.replace(target, gpu=Gpu(name="RTX 3060", compute_capability="8.6", memory_mb=12288,
                                                   rtx=True))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What opens a session of tensorrt needs a GPU; what only compiles needs its library."""
    for item in items:
        call = getattr(item, "callspec", None)
        if call is not None and call.params.get("backend") == "tensorrt":
            item.add_marker(pytest.mark.gpu if "device" in getattr(item, "fixturenames", ()) else needs_rtx)


def compile_to(backend: str, graph: ExportedGraph | OptimizedGraph, target: Target, path: Path,
               batches: tuple[int, ...] = (1,), device: Device | None = None) -> Artifact:
    """device: what it is to open on. A GPU's bundle is then for this machine's, and finished where it has to be;
    without a library that runs float32 on it, the test is skipped with the reason.
    """
    chosen = get_backend(backend)
    optimised = optimize_graph(graph, batches) if isinstance(graph, ExportedGraph) else graph
    if backend != "tensorrt" or device is None:
        return chosen.compile(optimised, suited(backend, target), chosen.options_type(), path)
    library, reason = machine.suiting(machine.here(), "fp32")
    if library is None:
        pytest.skip(reason)
    machine.need_bindings()
    made = chosen.compile(optimised, machine.board_for(library, machine.here().gpu), chosen.options_type(), path)
    if made.manifest.finished:
        return made
    assert isinstance(chosen, Finishing)
    return chosen.finish(made, device, path)
