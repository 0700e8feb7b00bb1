"""Every session keeps the protocol, and answers misuse with an EdgeclsError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecls.backends.registry import backend_for
from edgecls.errors import EdgeclsError
from edgecls.interfaces import Device, Session
from edgecls.preprocess import preprocess
from edgecls.types import MeasureSettings, Pixels
from tests.conformance.conftest import Compile
from tests.conformance.support import ZEROS, on_every_backend
from tests.models import MODELS, assert_close, random_feed, run_onnxruntime


def opened(backend: str, model: str, compile_model: Compile, device: Device, batches: tuple[int, ...] = (1, 3),
           threads: int = 1) -> Session:
    artifact = compile_model(backend, model, batches)
    return backend_for(artifact).open_session(artifact, device, threads)


def photograph(width: int, height: int, channels: int = 3) -> Pixels:
    return Pixels(np.random.default_rng(width).integers(0, 256, (height, width, channels), dtype=np.uint8))


@on_every_backend()
def test_session_describes_the_bundle(backend: str, compile_model: Compile, device: Device) -> None:
    artifact = compile_model(backend, "classifier", (1, 3))
    with backend_for(artifact).open_session(artifact, device) as session:
        assert isinstance(session, Session)
        assert (session.inputs, session.outputs) == (artifact.manifest.inputs, artifact.manifest.outputs)
        assert [(s.name, s.dtype, s.shape) for s in session.inputs] == [("x", "float32", (1, 3, 32, 32))]
        assert [(s.name, s.dtype, s.shape) for s in session.outputs] == [("logits", "float32", (1, 10))]
        assert session.artifact_hash == artifact.hash
        assert session.contract == MODELS["classifier"]().contract
        assert not session.emulated
        assert not session.facts().emulated


WRONG_FEEDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "missing": lambda feed: {"x": feed["x"]},
    "none": lambda feed: {},
    "extra": lambda feed: {**feed, "z": feed["x"]},
    "renamed": lambda feed: {"x": feed["x"], "Y": feed["y"]},
    "shape": lambda feed: {**feed, "x": feed["x"][:, :-1]},
    "rank": lambda feed: {**feed, "x": feed["x"][0]},
    "dtype": lambda feed: {**feed, "x": feed["x"].astype(np.float64)},
    "batch": lambda feed: {n: np.concatenate([v, v]) for n, v in feed.items()},
    "mixed batch": lambda feed: {"x": np.concatenate([feed["x"]] * 3), "y": feed["y"]},
    "text": lambda feed: {**feed, "x": "a photograph"},
    "ragged": lambda feed: {**feed, "x": [[1.0], [1.0, 2.0]]},
    "empty": lambda feed: {**feed, "x": []},
    "image": lambda feed: {**feed, "x": photograph(6, 1)},
}


@pytest.mark.parametrize("wrong", WRONG_FEEDS)
@on_every_backend()
def test_wrong_inputs_are_refused(backend: str, wrong: str, compile_model: Compile, device: Device) -> None:
    feed = random_feed(MODELS["two_inputs"]())
    with opened(backend, "two_inputs", compile_model, device) as session:
        with pytest.raises(EdgeclsError) as caught:
            session.run(WRONG_FEEDS[wrong](feed))
        assert caught.value.exit_code == 2 and caught.value.hint
        assert list(session.run(feed)) == ["sum"]  # and the session still works


@on_every_backend(null=ZEROS)
def test_strided_arrays_are_taken(backend: str, compile_model: Compile, device: Device) -> None:
    graph = MODELS["classifier"]()
    feed = {"x": np.asfortranarray(random_feed(graph)["x"])[:, ::-1]}
    with opened(backend, "classifier", compile_model, device) as session:
        assert_close(session.run(feed), run_onnxruntime(graph, feed))


@pytest.mark.parametrize("model", ["classifier", "classifier_nhwc"])
@on_every_backend(null=ZEROS)
def test_images_are_preprocessed_by_the_contract(backend: str, model: str, compile_model: Compile,
                                                 device: Device) -> None:
    graph = MODELS[model]()
    images = [photograph(41, 53), photograph(80, 37, 4), photograph(32, 36)]
    tensors = np.concatenate([preprocess(image, graph.contract.image_input) for image in images])
    with opened(backend, model, compile_model, device) as session:
        assert_close(session.run({"x": images[0]}), run_onnxruntime(graph, {"x": tensors[:1]}))
        assert_close(session.run({"x": images}), run_onnxruntime(graph, {"x": tensors}))
        with pytest.raises(EdgeclsError):
            session.run({"x": images[:2]})


@on_every_backend()
def test_measure_returns_every_sample(backend: str, compile_model: Compile, device: Device) -> None:
    with opened(backend, "classifier", compile_model, device) as session:
        for batch in session.batches:
            samples = session.measure(MeasureSettings(batch=batch, warmup=1, runs=7))
            assert samples.kind == "time_ns" and len(samples.values) == 7
            assert all(value >= 0 for value in samples.values)


@pytest.mark.parametrize("settings", [
    MeasureSettings(batch=2), MeasureSettings(batch=0), MeasureSettings(runs=0), MeasureSettings(runs=-1),
    MeasureSettings(warmup=-1), MeasureSettings(runs=1 << 40)])
@on_every_backend()
def test_impossible_measurements_are_refused(backend: str, settings: MeasureSettings, compile_model: Compile,
                                             device: Device) -> None:
    with opened(backend, "two_inputs", compile_model, device) as session, pytest.raises(EdgeclsError):
        session.measure(settings)


@on_every_backend()
def test_profile_names_layers_of_the_manifest(backend: str, compile_model: Compile, device: Device) -> None:
    layers = {layer.index: layer for layer in compile_model(backend, "classifier", (1, 3)).manifest.layers}
    with opened(backend, "classifier", compile_model, device) as session:
        for entry in session.profile(3):
            assert layers[entry.layer].kernel == entry.kernel
            assert layers[entry.layer].batch == 1
            assert entry.runs == 3 and entry.mean_ns >= 0


@pytest.mark.parametrize("threads", [0, -1, 100_000])
@on_every_backend()
def test_impossible_thread_counts_are_refused(backend: str, threads: int, compile_model: Compile,
                                              device: Device) -> None:
    with pytest.raises(EdgeclsError):
        opened(backend, "two_inputs", compile_model, device, threads=threads)


@on_every_backend()
def test_a_closed_session_says_so(backend: str, compile_model: Compile, device: Device) -> None:
    session = opened(backend, "two_inputs", compile_model, device)
    session.close()
    session.close()
    with pytest.raises(EdgeclsError):
        session.run(random_feed(MODELS["two_inputs"]()))
    with pytest.raises(EdgeclsError):
        session.measure(MeasureSettings(runs=1))


@on_every_backend(null=ZEROS)
def test_two_sessions_do_not_meet(backend: str, compile_model: Compile, device: Device) -> None:
    first, second = MODELS["classifier"](), MODELS["attention"]()
    feeds = random_feed(first), random_feed(second)
    with opened(backend, "classifier", compile_model, device) as a, \
            opened(backend, "attention", compile_model, device, threads=2) as b:
        for _ in range(2):
            assert_close(a.run(feeds[0]), run_onnxruntime(first, feeds[0]))
            assert_close(b.run(feeds[1]), run_onnxruntime(second, feeds[1]))
