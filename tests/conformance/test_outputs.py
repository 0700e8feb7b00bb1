"""Every backend computes what ONNX Runtime computes on the network as exported."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgecls.backends.registry import BACKENDS, backend_for, get_backend
from edgecls.interfaces import Device
from edgecls.types import ExportedGraph, Target
from tests.conformance.conftest import Compile, compile_to
from tests.conformance.support import ZEROS, on_every_backend
from tests.models import MODELS, Builder, assert_close, convolution, random_feed, run_onnxruntime


@pytest.mark.parametrize("model", MODELS)
@on_every_backend(null=ZEROS)
def test_outputs_match_onnxruntime(backend: str, model: str, compile_model: Compile, device: Device) -> None:
    graph = MODELS[model]()
    artifact = compile_model(backend, model)
    with backend_for(artifact).open_session(artifact, device) as session:
        for seed in (1, 2):  # the second run must not see the first one's activations
            feed = random_feed(graph, seed=seed)
            assert_close(session.run(feed), run_onnxruntime(graph, feed))


@pytest.mark.parametrize("model", ["classifier", "attention", "two_inputs"])
@on_every_backend(null=ZEROS)
def test_each_batch_size_matches(backend: str, model: str, compile_model: Compile, device: Device) -> None:
    graph = MODELS[model]()
    artifact = compile_model(backend, model, (1, 3))
    with backend_for(artifact).open_session(artifact, device) as session:
        assert session.batches == (1, 3)
        for batch in (3, 1, 3):
            feed = random_feed(graph, batch)
            assert_close(session.run(feed), run_onnxruntime(graph, feed))


@pytest.mark.parametrize("threads", [1, 2, 3])
@on_every_backend(null=ZEROS)
def test_any_number_of_threads_matches(backend: str, threads: int, compile_model: Compile, device: Device) -> None:
    graph = MODELS["classifier"]()
    artifact = compile_model(backend, "classifier", (1, 3))
    with backend_for(artifact).open_session(artifact, device, threads) as session:
        assert session.threads == threads
        feed = random_feed(graph)
        assert_close(session.run(feed), run_onnxruntime(graph, feed))


# The reference promises its answer, not its last bit.
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "reference"])
def test_the_number_of_threads_changes_no_bit(backend: str, compile_model: Compile, device: Device) -> None:
    feed = random_feed(MODELS["classifier"](), 3)
    artifact = compile_model(backend, "classifier", (1, 3))
    answers = []
    for threads in (1, 2, 4):
        with backend_for(artifact).open_session(artifact, device, threads) as session:
            answers += [session.run(feed)["logits"].tobytes() for _ in range(3)]
    assert len(set(answers)) == 1


@st.composite
def convolution_graphs(draw: st.DrawFn) -> ExportedGraph:
    groups = draw(st.sampled_from([1, 1, 1, 2, 5]))
    depthwise = draw(st.booleans())
    channels = groups * (1 if depthwise else draw(st.integers(1, 9)))
    out = groups * draw(st.integers(1, 9))
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    dilations = [draw(st.integers(1, 2)) for _ in range(2)]
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    size = [draw(st.integers(1, 20)) for _ in range(2)]
    for n, k, d, before, after in zip(size, kernel, dilations, pads[:2], pads[2:], strict=True):
        assume(n + before + after >= d * (k - 1) + 1)
    b = Builder(seed=draw(st.integers(0, 99)))
    x = b.input("x", ("batch", channels, *size))
    b.output(convolution(x, b, channels, out, kernel, groups=groups, bias=draw(st.booleans()), pads=pads,
                         dilations=dilations, strides=[draw(st.integers(1, 3)) for _ in range(2)]), "y")
    return b.finish()


def check_convolution(backend: str, graph: ExportedGraph, target: Target, device: Device, folder: Path) -> None:
    artifact = compile_to(backend, graph, target, folder / "convolution.ecls", device=device)
    feed = random_feed(graph)
    with get_backend(backend).open_session(artifact, device) as session:
        # One value alone has no range, so compare with the size of its terms, which is about 1.
        actual, expected = session.run(feed)["y"], run_onnxruntime(graph, feed)["y"]
        assert abs(actual - expected).max() <= 1e-4 * max(1, abs(expected).max())


SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.differing_executors]


@on_every_backend(null=ZEROS)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=SHARED)
@given(graph=convolution_graphs())
def test_some_convolutions_match(backend: str, graph: ExportedGraph, target: Target, device: Device,
                                 tmp_path: Path) -> None:
    check_convolution(backend, graph, target, device, tmp_path)


@pytest.mark.slow
@on_every_backend(null=ZEROS)
@settings(max_examples=100, deadline=None, suppress_health_check=SHARED)
@given(graph=convolution_graphs())
def test_many_convolutions_match(backend: str, graph: ExportedGraph, target: Target, device: Device,
                                 tmp_path: Path) -> None:
    check_convolution(backend, graph, target, device, tmp_path)
