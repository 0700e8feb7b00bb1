"""A library that does not start, or says at once that the driver is too old. The libraries here are fakes with the
words of the real ones: NVIDIA/TensorRT issue 2913, and TensorRT-RTX 1.7 over a driver that answers with error 35.
"""

from __future__ import annotations

import pytest

from edgecls.backends.tensorrt import build as module
from edgecls.backends.tensorrt.build import build, check, try_plan
from edgecls.backends.tensorrt.network import networks
from edgecls.errors import BundleError, DeviceError
from tests.backends.tensorrt.fake_gpu import LOGGER, fake_worker
from tests.backends.tensorrt.networks import half
from tests.models import MODELS

NOTHING = LOGGER + """
def nothing(logger):
    logger.log(ILogger.Severity.WARNING, "CUDA initialization failure with error: 35. Please check your CUDA "
               "installation: http://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html")
    raise TypeError("pybind11::init(): factory function returned nullptr")
Builder = Runtime = nothing
"""
REFUSING = LOGGER + """
class Runtime:
    def __init__(self, logger): self.logger = logger
    def deserialize_cuda_engine(self, plan): self.logger.log(ILogger.Severity.ERROR, {words!r})
"""
INSUFFICIENT = ("IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (In ScopedCudaStream at "
                "cudaResources.cpp:25 (cudaError 35: CUDA driver version is insufficient for CUDA runtime version))")


@pytest.fixture
def library(monkeypatch, tmp_path):
    return lambda text: monkeypatch.setattr(module, "WORKER", fake_worker(tmp_path, text))


@pytest.mark.parametrize("asked", ["check", "build", "load"])
@pytest.mark.parametrize(("text", "message", "hint"), [
    (NOTHING, "driver on this machine is too old for the TensorRT there: CUDA initialization failure with error: 35",
     "newer NVIDIA driver"),
    (NOTHING.replace("35", "100"), "TensorRT does not start on this machine: CUDA initialization failure with error: "
     "100", "doctor"),
    (NOTHING.replace("logger.log", "print"), "TensorRT does not start on this machine: pybind11", "doctor"),
])
def test_a_library_that_does_not_start_says_why(asked, text, message, hint, library):
    library(text)
    (network,) = networks(half(MODELS["two_inputs"]()))
    with pytest.raises(DeviceError, match=message) as caught:
        {"check": lambda: check(network, "tensorrt"), "build": lambda: build(network, "tensorrt", capability=None),
         "load": lambda: try_plan(b"plan", "tensorrt")}[asked]()
    assert hint in caught.value.hint


@pytest.mark.parametrize(("words", "error", "hint"), [
    (INSUFFICIENT, DeviceError, "install a newer NVIDIA driver"),
    ("Cuda Runtime (the provided PTX was compiled with an unsupported toolchain.)", DeviceError, "newer NVIDIA driver"),
    ("Serialization assertion stdVersionRead == kSERIALIZATION_VERSION fails", BundleError, "compile the model again"),
])
def test_an_old_driver_is_not_taken_for_a_wrong_plan(words, error, hint, library):
    library(REFUSING.format(words=words))
    with pytest.raises(error) as caught:
        try_plan(b"plan", "tensorrt")
    assert hint in caught.value.hint and words[:40] in caught.value.message
