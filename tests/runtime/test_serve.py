"""The session on the real ec_run: on this machine, and as ARM code under qemu."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from tiny_model import MEAN, STD, TinyModel

from edgecls.devices import open_device
from edgecls.errors import BundleError, DataError, DeviceError, EdgeclsError
from edgecls.interfaces import Device, Session
from edgecls.runtime.serve import ServeSession, open_serve_session
from edgecls.targets import host_arch
from edgecls.types import Artifact, MeasureSettings, Pixels

MODEL = TinyModel()
TINY = Callable[..., Artifact]
ARCHES = ("x86_64", "aarch64", "armv7")


@pytest.fixture(scope="module", params=ARCHES)
def opened(request: pytest.FixtureRequest, tiny_bundle: TINY) -> Iterator[tuple[Artifact, Device]]:
    artifact = tiny_bundle(request.param)
    spec = "local" if request.param == host_arch() else "qemu"
    with open_device(spec, artifact.manifest.target) as device:
        yield artifact, device


@pytest.fixture(scope="module")
def session(opened: tuple[Artifact, Device]) -> Iterator[ServeSession]:
    with open_serve_session(*opened, threads=2) as session:
        yield session


@pytest.fixture(scope="module")
def host(tiny_bundle: TINY) -> Iterator[tuple[Artifact, Device]]:
    artifact = tiny_bundle(host_arch())
    with open_device("local", artifact.manifest.target) as device:
        yield artifact, device


@pytest.fixture(scope="module")
def host_session(host: tuple[Artifact, Device]) -> Iterator[ServeSession]:
    with open_serve_session(*host) as session:
        yield session


def photo(width: int, height: int, channels: int = 3, seed: int = 1) -> Pixels:
    return Pixels(np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8))


def by_pillow(pixels: Pixels) -> np.ndarray:
    """The tiny model's contract, done by Pillow and numpy."""
    height, width = pixels.data.shape[:2]
    size = (10, int(10 * height / width)) if width <= height else (int(10 * width / height), 10)
    image = Image.fromarray(pixels.data.squeeze(-1) if pixels.data.shape[2] == 1 else pixels.data).convert("RGB")
    resized = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((s - 8) / 2) for s in size)
    cropped = np.asarray(resized)[top:top + 8, left:left + 8].astype(np.float32)
    values = (cropped * np.float32(0.00390625) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return values.transpose(2, 0, 1)[None]


def test_it_is_a_session(session: ServeSession, opened: tuple[Artifact, Device]) -> None:
    assert isinstance(session, Session)
    assert session.artifact_hash == opened[0].hash
    assert session.threads == 2 and session.batches == (1, 2)


@pytest.mark.parametrize("batch", [1, 2])
def test_tensors_give_what_numpy_computes(session: ServeSession, batch: int) -> None:
    x = np.random.default_rng(batch).normal(size=(batch, 3, 8, 8)).astype(np.float32)
    logits = session.run({"image": x})["logits"]
    assert logits.dtype == np.float32 and logits.shape == (batch, 4)
    np.testing.assert_allclose(logits, MODEL.reference(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("width", "height", "channels"), [(31, 17, 3), (9, 40, 3), (10, 10, 3), (13, 12, 1)])
def test_images_are_prepared_on_the_device_as_pillow_does_it(
        session: ServeSession, width: int, height: int, channels: int) -> None:
    pixels = photo(width, height, channels)
    expected = by_pillow(pixels)
    np.testing.assert_array_equal(session.preprocess(pixels), expected)
    np.testing.assert_array_equal(session.run({"image": pixels})["logits"], session.run({"image": expected})["logits"])


def test_a_list_of_images_is_a_batch(session: ServeSession) -> None:
    images = [photo(20, 30), photo(40, 11, seed=2)]
    both = session.run({"image": images})["logits"]
    np.testing.assert_array_equal(both, np.concatenate([session.run({"image": i})["logits"] for i in images]))


def test_any_number_of_threads_gives_the_same_bits(opened: tuple[Artifact, Device]) -> None:
    x = np.random.default_rng(5).normal(size=(2, 3, 8, 8)).astype(np.float32)
    results = []
    for threads in (1, 2, 4):
        with open_serve_session(*opened, threads=threads) as session:
            results.append(session.run({"image": x})["logits"].tobytes())
    assert len(set(results)) == 1


def test_the_device_checks_itself(session: ServeSession) -> None:
    assert 0 <= session.selftest(1) < 1e-5 and 0 <= session.selftest(2) < 1e-5


def test_times_come_from_a_device_and_counts_from_an_emulator(
        session: ServeSession, opened: tuple[Artifact, Device]) -> None:
    settings = MeasureSettings(warmup=1, runs=7, threads=session.threads)
    if session.emulated:
        with pytest.raises(DeviceError, match="one thread, not for 2") as caught:
            session.measure(settings)
        assert "--threads" in caught.value.hint
        with open_serve_session(*opened) as single:
            samples = single.measure(settings)
            assert samples.kind == "instructions" and len(samples.values) == 1
            again = single.measure(settings)
            assert abs(again.values[0] - samples.values[0]) <= samples.values[0] * 0.01
            # dense alone is 768 multiply-adds; a whole program start is far above the bound
            assert 768 < samples.values[0] < 100_000
            twice = single.measure(MeasureSettings(batch=2)).values[0]
            assert 1.5 < twice / samples.values[0] < 2.5
    else:
        samples = session.measure(settings)
        assert samples.kind == "time_ns" and len(samples.values) == 7 and min(samples.values) > 0


def test_a_profile_names_the_kernels_and_an_emulator_has_none(session: ServeSession) -> None:
    profile = session.profile(runs=3)
    if session.emulated:
        assert profile == []
    else:
        assert [(p.layer, p.kernel, p.runs) for p in profile] == [(0, "rectify_1", 3), (1, "dense_1", 3)]
        assert all(p.mean_ns > 0 for p in profile)


def test_an_emulator_never_reports_its_host_as_the_board(session: ServeSession) -> None:
    facts = session.facts()
    if session.emulated:
        assert facts.emulated and facts.emulator
        assert (facts.cpu_model, facts.cores, facts.kernel, facts.governor, facts.clocks_mhz, facts.temperature_c,
                facts.load, facts.memory_total_mb, facts.memory_free_mb) == (None,) * 9
    else:
        assert not facts.emulated and facts.machine == platform.machine()
        assert facts.kernel and platform.release() in facts.kernel
        assert facts.memory_total_mb and facts.cores


@pytest.mark.parametrize(("feed", "reason"), [
    ({}, "the network takes"),
    ({"wrong": np.zeros((1, 3, 8, 8), np.float32)}, "the network takes"),
    ({"image": np.zeros((1, 3, 8, 8))}, "float64"),
    ({"image": np.zeros((3, 8, 8), np.float32)}, r"\[3, 8, 8\]"),
    ({"image": np.zeros((3, 3, 8, 8), np.float32)}, r"\[1, 3, 8, 8\]"),
    ({"image": []}, "at least one"),
    ({"image": [photo(9, 9), None]}, "images only"),
    ({"image": [photo(9, 9)] * 3}, "batch 3"),
    ({"image": photo(0, 9)}, "empty"),
    ({"image": photo(9, 9, 4)}, "(?i)alpha"),
])
def test_a_feed_the_network_does_not_take(host_session: ServeSession, feed: dict[str, object], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        host_session.run(feed)  # type: ignore[arg-type]
    assert caught.value.hint
    assert np.isfinite(host_session.run({"image": photo(9, 9)})["logits"]).all(), "the session goes on"


def test_arrays_in_any_memory_order_are_taken(host_session: ServeSession) -> None:
    x = np.random.default_rng(7).normal(size=(8, 8, 3, 2)).astype(np.float32).transpose(3, 2, 0, 1)
    expected = host_session.run({"image": np.ascontiguousarray(x)})["logits"]
    np.testing.assert_array_equal(host_session.run({"image": x})["logits"], expected)
    np.testing.assert_array_equal(host_session.run({"image": x.astype(">f4")})["logits"], expected)


@pytest.mark.parametrize("settings", [MeasureSettings(batch=3), MeasureSettings(runs=0), MeasureSettings(warmup=-1)])
def test_a_measurement_that_is_none(host_session: ServeSession, settings: MeasureSettings) -> None:
    with pytest.raises(DataError):
        host_session.measure(settings)


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_an_impossible_number_of_threads(host: tuple[Artifact, Device], threads: int) -> None:
    with pytest.raises(DeviceError, match="threads"):
        open_serve_session(*host, threads=threads)


def test_a_bundle_for_something_else(host: tuple[Artifact, Device], tiny_bundle: TINY) -> None:
    artifact, device = host
    other = msgspec.structs.replace(artifact, manifest=msgspec.structs.replace(artifact.manifest, runtime="null"))
    with pytest.raises(BundleError, match="runtime null"):
        open_serve_session(other, device)
    with pytest.raises(BundleError, match="armv7"):
        open_serve_session(tiny_bundle("armv7"), device)
    wrong_isa = tiny_bundle(host_arch(), features=1 << 40)
    with pytest.raises(BundleError, match=r"(?i)feature"):
        open_serve_session(wrong_isa, device)


def test_a_bundle_that_changed_after_it_was_verified(host: tuple[Artifact, Device], tmp_path: Path) -> None:
    artifact, device = host
    data = bytearray(artifact.path.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.ecls").write_bytes(data)
    with pytest.raises(BundleError, match=r"(?i)damaged|hash|changed"):
        open_serve_session(msgspec.structs.replace(artifact, path=tmp_path / "changed.ecls"), device)


def test_a_closed_session_says_so(host: tuple[Artifact, Device]) -> None:
    session = open_serve_session(*host)
    session.close()
    session.close()
    with pytest.raises(EdgeclsError, match="the session is over"):
        session.run({"image": photo(9, 9)})
