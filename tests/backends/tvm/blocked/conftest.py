"""Networks compiled through the backend, executed on the host or under qemu, and compared with ONNX Runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.backends.tvm.blocked import algorithm
from edgecls.backends.tvm.blocked.algorithm import Way
from edgecls.backends.tvm.blocked.families import winograd_weights
from edgecls.backends.tvm.blocked.families.winograd import applies
from edgecls.bundle import open_bundle
from edgecls.devices import open_device
from edgecls.interfaces import Device
from edgecls.passes import optimize_graph
from edgecls.targets import load_target, native_target
from edgecls.types import Artifact, Target
from tests.backends.tvm.blocked.networks import Network, describe
from tests.models import random_feed, run_onnxruntime

Check = Callable[..., Artifact]
BOARDS = ("armv7", "raspberry-pi-4")
TOLERANCES = {"off": 1e-5, "auto": 1e-4, "f2": 1e-4, "f4": 1e-4, "f6": 1e-3}
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def target_of(name: str | Target) -> Target:
    if isinstance(name, Target):
        return name
    return native_target() if name == "native" else load_target(name)


@pytest.fixture(scope="session")
def devices() -> Iterator[Callable[[str | Target], Device]]:
    with contextlib.ExitStack() as stack:
        opened: dict[str, Device] = {}

        def device(target: str | Target) -> Device:
            name = target if isinstance(target, str) else target.name
            if name not in opened:
                opened[name] = stack.enter_context(open_device(None, target_of(target)))
            return opened[name]

        yield device


@pytest.fixture
def check(devices: Callable[[str | Target], Device], tmp_path: Path) -> Check:
    """check(network, target, batch, winograd, strassen): its answers are ONNX Runtime's, its layers run as it says."""

    def checked(net: Network, target: str | Target = "native", batch: int = 1, winograd: str = "off",
                strassen: str = "auto") -> Artifact:
        graph = net.graph()
        options = CompileOptions(winograd=winograd, strassen=strassen)
        artifact = open_bundle(TvmBackend().compile(optimize_graph(graph, (batch,)), target_of(target), options,
                                                    tmp_path / "network.ecls").path)
        check_families(net, artifact)
        feed = random_feed(graph, batch)
        expected = run_onnxruntime(graph, feed)
        with TvmBackend().open_session(artifact, devices(target), 2) as session:
            # the second run must not see what the first one left
            for actual in (session.run(feed), session.run(feed)):
                assert list(actual) == list(expected)
                for name, want in expected.items():
                    # one value alone has no range, so also the size of its terms counts, which is about 1
                    limit = TOLERANCES[winograd] * max(1.0, float(np.abs(want).max()))
                    assert actual[name].shape == want.shape
                    worst = float(np.abs(actual[name] - want).max())
                    assert worst <= limit, f"{name} is off by {worst:.3g}, allowed {limit:.3g}\n{describe(net)}"
        return artifact

    return checked


def transform_on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a choice of Winograd is forced, its kernels transform the weights: of two blocks of channels at a time, so
    that layers of few channels have several chunks."""
    monkeypatch.setattr(winograd_weights, "chunk", lambda window, cpu, m, vectors: cpu.vector_bits // 16)
    monkeypatch.setattr(algorithm, "_ways", lambda window, target, options: [Way()] + (
        [Way(int(options.winograd[1:]), True)] if applies(window) else []))


def check_families(net: Network, artifact: Artifact) -> None:
    for node, family in net.expected.items():
        found = {row.algorithm for row in artifact.manifest.layers if node in row.onnx_nodes}
        assert family in found, f"{node} runs as {sorted(found)}, not {family}\n{describe(net)}"
