"""What a session refuses, and what it frees, when a call fails. The GPU here is a fake; test_gpu.py has a real one."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgecls.backends.tensorrt import session as module
from edgecls.backends.tensorrt.compatible import check_place, import_library
from edgecls.backends.tensorrt.driver import open_driver
from edgecls.backends.tensorrt.recipe import MEMBER, BuiltOn, Part, Recipe, read_recipe
from edgecls.bundle import open_bundle, write_bundle
from edgecls.devices import LocalDevice
from edgecls.errors import BundleError, DeviceError, MissingExtraError
from edgecls.frozen import encode_json
from edgecls.types import Manifest, MeasureSettings, TensorSpec
from tests.architecture.test_types import example
from tests.backends.tensorrt.fake_gpu import VERSION, FakeDriver, fake_tensorrt

RECIPE = Recipe(parts=(Part(batches=(1, 4), network_sha256="0" * 64, plan="plan_0.bin"),), compute_capability="8.6")


@pytest.fixture
def bundle(tmp_path):
    def make(recipe=RECIPE, members=("plan_0.bin",), runtime="tensorrt-rtx", version=VERSION):
        spec = TensorSpec(name="x", dtype="float32", shape=(1, 3))
        manifest = msgspec.structs.replace(
            example(Manifest), runtime=runtime, backend="tensorrt", batches=(1, 4), inputs=(spec,),
            outputs=(msgspec.structs.replace(spec, name="y"),), toolchain={runtime: version})
        path = tmp_path / "made.ecls"
        write_bundle(path, manifest, {**dict.fromkeys(members, b"plan"), MEMBER: encode_json(recipe)})
        return open_bundle(path)

    return make


@pytest.fixture
def gpu(monkeypatch):
    """gpu(driver, trt): what open_gpu_session finds."""
    def use(driver, trt):
        monkeypatch.setattr(module, "open_driver", lambda: driver)
        monkeypatch.setattr(module, "import_library", lambda artifact, library: trt)
        monkeypatch.setattr(module, "try_plan", lambda plan, library: None)
        return driver

    return use


def opened(artifact):
    return module.open_gpu_session(artifact, LocalDevice(), 1)


def test_each_batch_size_runs_through_its_graph_and_everything_is_freed(bundle, gpu):
    driver = FakeDriver()
    gpu(driver, fake_tensorrt(driver, profiles=2))
    with opened(bundle()) as session:
        for batch in (1, 4, 1):
            x = np.random.default_rng(batch).standard_normal((batch, 3)).astype(np.float32)
            assert np.array_equal(session.run({"x": x})["y"], 2 * x)
        samples = session.measure(MeasureSettings(batch=4, warmup=1, runs=3))
        assert len(samples.values) == 3 and samples.gpu_ns == (1000,) * 3
        assert driver.calls.count("cuGraphLaunch") == 3 + 4
    assert driver.alive == [] and driver.calls[-1] == "close"
    session.close()  # twice is once
    with pytest.raises(DeviceError, match="closed"):
        session.run({"x": np.zeros((1, 3), np.float32)})


def test_a_latency_names_the_gpu_its_driver_and_cuda(bundle, gpu, monkeypatch):
    from edgecls.cli.summary import measurement_lines
    from edgecls.harness import measure_latency

    driver = FakeDriver()
    gpu(driver, fake_tensorrt(driver))
    monkeypatch.setattr(module, "driver_version", lambda: "550.54.15")
    with opened(bundle()) as session:
        result = measure_latency(session, MeasureSettings(batch=4, warmup=1, runs=3, repeats=2))
    found = result.conditions.before.gpu
    assert (found.name, found.compute_capability, found.driver, found.cuda, found.memory_total_mb) == (
        "FAKE GPU", "8.6", "550.54.15", "12.4", 12288)
    assert any("on the GPU (FAKE GPU, driver 550.54.15, CUDA 12.4) p50" in line for line in measurement_lines(result))


@pytest.mark.parametrize("call", ["cuStreamCreate", "cuMemAlloc", "cuMemHostAlloc", "cuEventCreate",
                                  "cuStreamSynchronize"])
def test_a_call_that_fails_while_opening_frees_what_was_made(call, bundle, gpu):
    driver = FakeDriver()
    driver.fail[call] = "CUDA_ERROR_OUT_OF_MEMORY"
    gpu(driver, fake_tensorrt(driver))
    with pytest.raises(DeviceError, match=f"{call} failed: CUDA_ERROR_OUT_OF_MEMORY") as caught:
        opened(bundle())
    assert "nvidia-smi" in caught.value.hint
    assert driver.alive == [] and driver.calls.count("close") == 1


@pytest.mark.parametrize("call", ["cuStreamBeginCapture", "cuStreamEndCapture"])
def test_an_engine_that_cannot_be_captured_is_enqueued(call, bundle, gpu):
    driver = FakeDriver()
    driver.fail[call] = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
    gpu(driver, fake_tensorrt(driver))
    with opened(bundle()) as session:
        x = np.ones((1, 3), np.float32)
        assert np.array_equal(session.run({"x": x})["y"], 2 * x)
    assert "cuGraphLaunch" not in driver.calls and driver.alive == []


@pytest.mark.parametrize("how", [{"captures": False}, {"capturable": False}, {"captures": False, "capturable": True}])
def test_a_graph_without_its_kernels_is_never_launched(how, bundle, gpu):
    driver = FakeDriver()
    gpu(driver, fake_tensorrt(driver, **how))
    with opened(bundle()) as session:
        for factor in (1, 3):
            x = np.full((1, 3), factor, np.float32)
            assert np.array_equal(session.run({"x": x})["y"], 2 * x)
    assert "cuGraphLaunch" not in driver.calls and driver.alive == []
    assert ("cuStreamBeginCapture" in driver.calls) == how.get("capturable", True)


@pytest.mark.parametrize(("how", "error", "message"), [
    ({"engine": False}, BundleError, "does not take its plan"),
    ({"context": False}, DeviceError, "too little memory on the GPU"),
    ({"runs": False}, DeviceError, "does not run on this GPU"),
    ({"takes": "set_tensor_address"}, DeviceError, "does not take its buffer for 'x'"),
    ({"takes": "set_input_shape"}, BundleError, r"does not take 'x' of shape \[1, 3\]"),
    ({"takes": "set_optimization_profile_async", "profiles": 2}, BundleError, "no optimisation profile 0"),
    ({"y": ("z", "float32", 3)}, BundleError, r"has the outputs \['z'\], and the manifest \['y'\]"),
    ({"y": ("y", "float16", 3)}, BundleError, r"'y' is float16 \[1, 3\], and the manifest's float32 \[1, 3\]"),
    ({"y": ("y", "float32", 1000)}, BundleError, r"'y' is float32 \[1, 1000\], and the manifest's float32"),
    ({"y": ("y", "float32", -1)}, BundleError, r"'y' is float32 \[1, -1\]"),
])
def test_a_library_that_says_no_is_one_message(how, error, message, bundle, gpu):
    driver = FakeDriver()
    gpu(driver, fake_tensorrt(driver, **how))
    with pytest.raises(error, match=message) as caught:
        opened(bundle())
    assert caught.value.hint and driver.alive == [] and driver.calls.count("close") == 1


@pytest.mark.parametrize("call", ["cuMemcpyHtoDAsync", "cuGraphLaunch", "cuMemcpyDtoHAsync", "cuEventElapsedTime"])
def test_a_call_that_fails_while_running_is_one_message(call, bundle, gpu):
    driver = FakeDriver()
    gpu(driver, fake_tensorrt(driver))
    with opened(bundle()) as session:
        driver.fail[call] = "CUDA_ERROR_ILLEGAL_ADDRESS"
        with pytest.raises(DeviceError, match=f"{call} failed") as caught:
            session.run({"x": np.zeros((1, 3), np.float32)})
        assert "doctor" in caught.value.hint
    assert driver.alive == []


def test_another_gpu_is_refused_before_the_plan_is_loaded(bundle, gpu, monkeypatch):
    driver = FakeDriver(capability="8.9", gpu="RTX 4090")
    gpu(driver, fake_tensorrt(driver))
    monkeypatch.setattr(module, "try_plan", lambda plan, library: pytest.fail("was loaded"))
    with pytest.raises(BundleError, match=r"is for compute capability 8.6, and the RTX 4090 here has 8.9"):
        opened(bundle())
    assert driver.calls == ["close"]


def test_an_engine_tuned_on_another_gpu_is_refused(bundle):
    recipe = msgspec.structs.replace(RECIPE, built_on=BuiltOn(gpu="A10", compute_capability="8.6", driver="550"))
    with pytest.raises(BundleError, match="tuned on a A10, here is a FAKE GPU"):
        check_place(bundle(recipe), recipe, FakeDriver().facts())


def test_another_version_of_the_library_is_refused(bundle, monkeypatch):
    import sys
    from types import ModuleType

    fake = ModuleType("tensorrt_rtx")
    fake.__version__ = "1.8.0.1"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake)
    with pytest.raises(BundleError, match=rf"made by TensorRT-RTX {VERSION}, here is 1.8.0.1") as caught:
        import_library(bundle(), "tensorrt_rtx")
    assert "compile the model again" in caught.value.hint
    fake.__version__ = VERSION
    assert import_library(bundle(), "tensorrt_rtx") is fake


@pytest.mark.parametrize(("library", "runtime", "remedy"), [
    ("tensorrt_rtx", "tensorrt-rtx", "pip install 'edgecls"), ("tensorrt", "tensorrt", "NVIDIA's own package index")])
def test_a_missing_library_names_where_it_comes_from(library, runtime, remedy, bundle, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError) as caught:
        import_library(bundle(runtime=runtime), library)
    assert remedy in caught.value.hint


def test_an_unfinished_bundle_names_the_command(bundle):
    part = msgspec.structs.replace(RECIPE.parts[0], plan=None, network="network_0.onnx")
    artifact = bundle(msgspec.structs.replace(RECIPE, parts=(part,)), ("network_0.onnx",), "tensorrt")
    assert not artifact.manifest.finished
    with pytest.raises(BundleError, match="has no engine yet") as caught:
        opened(artifact)
    assert "edgecls finish" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 9999, b"\xff",
                                  encode_json(msgspec.structs.replace(RECIPE, version=2)),
                                  encode_json(msgspec.structs.replace(RECIPE, parts=()))])
def test_a_recipe_that_cannot_be_followed_is_refused(data, bundle, tmp_path):
    artifact = bundle()
    artifact = write_bundle(tmp_path / "bad.ecls", artifact.manifest, {"plan_0.bin": b"plan", MEMBER: data})
    with pytest.raises(BundleError, match="recipe"):
        read_recipe(artifact)


def test_engines_run_on_this_machine_alone(bundle):
    class Elsewhere:
        name = "pi.local"

    with pytest.raises(BundleError, match=r"not on pi.local"):
        module.open_gpu_session(bundle(), Elsewhere(), 1)


def test_another_runtime_is_not_taken_for_tensorrt(bundle):
    with pytest.raises(BundleError, match="is for the runtime 'onnxruntime', which is no TensorRT"):
        opened(bundle(runtime="onnxruntime"))


def test_bindings_that_are_not_known_are_refused():
    with pytest.raises(DeviceError, match="no CUDA bindings"):
        open_driver("opencl")


def test_no_bindings_is_one_message(monkeypatch):
    import sys

    for package in ("cuda", "cuda.bindings", "pycuda"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match="no bindings to CUDA") as caught:
        open_driver()
    assert "edgecls[cuda]" in caught.value.hint


@pytest.mark.parametrize("binding", ["cuda-bindings", "pycuda"])
def test_a_context_is_released_once(binding, monkeypatch):
    """The fake stands where each binding's module does; it counts what releases the context."""
    import sys
    from types import ModuleType, SimpleNamespace

    released = []
    fake = ModuleType("fake")
    if binding == "cuda-bindings":
        fake.CUresult = SimpleNamespace(CUDA_SUCCESS=0)
        for name in ("cuInit", "cuCtxSetCurrent"):
            setattr(fake, name, lambda *arguments: (0,))
        fake.cuDeviceGet = fake.cuDevicePrimaryCtxRetain = lambda *arguments: (0, 1)
        fake.cuDevicePrimaryCtxRelease = lambda device: released.append(device) or (0,)
        for name in ("cuda", "cuda.bindings"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        sys.modules["cuda.bindings"].driver = fake
    else:
        context = SimpleNamespace(push=lambda: None, pop=lambda: released.append(1))
        fake.Error, fake.init = RuntimeError, lambda: None
        fake.Device = lambda index: SimpleNamespace(retain_primary_context=lambda: context)
        package = ModuleType("pycuda")
        package.driver = fake
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", fake)
    driver = open_driver(binding)
    driver.close()
    driver.close()
    assert len(released) == 1


def test_a_driver_that_lacks_a_function_is_one_message():
    from types import SimpleNamespace

    from edgecls.backends.tensorrt.driver.cuda_bindings import CudaBindings

    def lacking(*arguments):
        raise RuntimeError('Function "cuMemGetInfo_v2" not found')

    driver = object.__new__(CudaBindings)
    driver._cuda = SimpleNamespace(cuMemAlloc=lacking)
    with pytest.raises(DeviceError, match="cuMemGetInfo_v2") as caught:
        driver.allocate(1)
    assert "newest driver" in caught.value.hint


def test_cuda_bindings_without_a_driver_is_one_message():
    """On a machine with a driver there is nothing to see: pytest -m gpu covers it."""
    import ctypes

    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(DeviceError, match="no NVIDIA driver") as caught:
            open_driver("cuda-bindings")
        assert "driver" in caught.value.hint
