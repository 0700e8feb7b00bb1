"""Finishing: what the device must have, what is kept, and the way to it. The device's GPU and its TensorRT are fakes
here: its answers are made up, and its builder is TensorRT-RTX's. test_gpu.py finishes for real.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

from edgecls.backends.tensorrt import TensorRTBackend, TensorRTOptions
from edgecls.backends.tensorrt import finish as module
from edgecls.backends.tensorrt.answers import Facts
from edgecls.backends.tensorrt.build import Place, build, facts
from edgecls.backends.tensorrt.recipe import BuiltOn, read_recipe
from edgecls.bundle import open_bundle, read_member
from edgecls.devices import LocalDevice
from edgecls.errors import BundleError, DeviceError, MissingExtraError
from edgecls.targets import load_target
from tests.backends.tensorrt.conftest import needs_rtx
from tests.backends.tensorrt.networks import half
from tests.models import MODELS

T4 = {"gpu": {"name": "Tesla T4", "compute_capability": "7.5", "memory_mb": 15360, "cuda": "12.4"},
      "driver": "550.54.15", "tensorrt": {"version": "10.7.0"}, "tensorrt_rtx": {"missing": "no"}}


class Board(LocalDevice):
    """This machine, reached as any other device is: files are pushed, and python3 is started."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "board"


@pytest.fixture
def unfinished(tmp_path):
    """One engine for the batch sizes 1 and 4."""
    graph = half(MODELS["classifier"](), 1, 4)
    return TensorRTBackend().compile(graph, load_target("t4"), TensorRTOptions(evidence=False), tmp_path / "t4.ecls")


@pytest.fixture
def device(monkeypatch, tmp_path):
    """device(facts): what finishing finds; .caches: the timing caches its builds were given."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "timing_caches")
    given = []

    def fake_build(network, library, *, capability, tf32, cache, place, progress):
        assert (library, capability, tf32) == ("tensorrt", None, False)
        given.append(cache)
        built, plan, _ = build(network, "tensorrt_rtx", capability="7.5")
        return built, plan, b"timings %d" % len(given)

    def use(found):
        monkeypatch.setattr(module, "facts", lambda place: msgspec.convert(found, Facts))
        monkeypatch.setattr(module, "build", fake_build)
        return LocalDevice()

    use.caches = given
    return use


@needs_rtx
def test_the_engine_joins_the_bundle_with_its_origin(unfinished, device, tmp_path):
    done = TensorRTBackend().finish(unfinished, device(T4), tmp_path / "done.ecls")
    assert open_bundle(done.path) == done and done.manifest.finished
    assert set(done.manifest.members) == {"network_0.onnx", "plan_0.bin", "recipe.json"}
    assert read_member(done, "network_0.onnx") == read_member(unfinished, "network_0.onnx")
    recipe = read_recipe(done)
    assert recipe.built_on == BuiltOn(gpu="Tesla T4", compute_capability="7.5", driver="550.54.15")
    assert recipe.parts[0].plan == "plan_0.bin" and recipe.parts[0].batches == (1, 4)
    assert [p.engine_layers for p in done.manifest.plans] == [
        sum(row.batch == b for row in done.manifest.layers) for b in (1, 4)]
    assert done.manifest.toolchain["tensorrt"] and "tensorrt-rtx" not in done.manifest.toolchain
    with pytest.raises(BundleError, match="built already"):
        TensorRTBackend().finish(done, device(T4), tmp_path / "again.ecls")


@needs_rtx
def test_timings_are_kept_for_the_same_gpu_driver_and_version(unfinished, device, tmp_path):
    for found in (T4, T4, {**T4, "driver": "551.1"}, {**T4, "tensorrt": {"version": "11.0.0"}}):
        TensorRTBackend().finish(unfinished, device(found), tmp_path / "done.ecls")
    assert device.caches == [b"", b"timings 1", b"", b""]
    assert len(list((tmp_path / "timing_caches").iterdir())) == 3


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"gpu": {"missing": "no NVIDIA driver"}}, DeviceError, "no GPU to build for"),
    ({"gpu": {"missing": "the NVIDIA driver does not start (CUDA error 803)"}}, DeviceError, "does not start"),
    ({"gpu": {**T4["gpu"], "compute_capability": "8.9", "name": "L4"}}, BundleError, "a L4 of compute capability 8.9"),
    ({"tensorrt": {"missing": "No module named 'tensorrt'"}}, MissingExtraError, "No module named 'tensorrt'"),
    ({"tensorrt": {"version": "8.6.1"}}, MissingExtraError, "has TensorRT 8.6.1"),
])
def test_a_device_that_lacks_something_is_told_and_nothing_is_written(change, error, message, unfinished, device,
                                                                      tmp_path):
    with pytest.raises(error, match=message) as caught:
        TensorRTBackend().finish(unfinished, device({**T4, **change}), tmp_path / "done.ecls")
    assert caught.value.hint and not (tmp_path / "done.ecls").exists()


def test_a_graph_that_is_not_the_recipes_is_refused(unfinished, device, tmp_path):
    from edgecls.backends.tensorrt.recipe import MEMBER
    from edgecls.bundle import write_bundle

    forged = write_bundle(tmp_path / "forged.ecls", unfinished.manifest, {
        "network_0.onnx": b"another", MEMBER: read_member(unfinished, MEMBER)})
    with pytest.raises(BundleError, match="do not belong together"):
        TensorRTBackend().finish(forged, device(T4), tmp_path / "done.ecls")


def test_a_device_is_asked_through_its_own_python():
    with Board() as board:
        assert Place(board).name == "board"
        found = facts(Place(board))
    assert found.python.startswith("3.") and (found.gpu.missing or found.gpu.name)


@needs_rtx
def test_a_build_over_a_devices_pipes_gives_the_plan_built_here(monkeypatch):
    """Megabytes go both ways through the pipes of a started program."""
    from edgecls.backends.tensorrt.network import networks

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    network = networks(half(MODELS["classifier"]()))[0]
    with Board() as board:
        there = build(network, "tensorrt_rtx", capability="8.6", place=Place(board))[1]
    assert there == build(network, "tensorrt_rtx", capability="8.6")[1]
