"""`pytest -m gpu` fits whatever GPU there is: an RTX card, a T4, a Jetson, an H100, or none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgecls.backends.tensorrt.answers import Facts, GpuFound, LibraryFound
from tests.backends.tensorrt.machine import here, suiting, why_not


def machine(name, capability, *, tensorrt="10.7.0", rtx="1.7.1"):
    def library(version):
        return LibraryFound(version=version) if version else LibraryFound(missing="No module named it")

    gpu = GpuFound(name=name, compute_capability=capability) if name else GpuFound(missing="no NVIDIA driver")
    return Facts(gpu=gpu, tensorrt=library(tensorrt), tensorrt_rtx=library(rtx))


@pytest.mark.parametrize(("found", "precision", "library", "reason"), [
    (machine("NVIDIA GeForce RTX 3060", "8.6"), "fp32", "tensorrt_rtx", ""),
    (machine("NVIDIA GeForce RTX 3060", "8.6", rtx=None), "fp32", "tensorrt", "tensorrt_rtx cannot be imported"),
    (machine("NVIDIA GeForce RTX 2080", "7.5"), "fp16", "tensorrt_rtx", ""),
    (machine("NVIDIA GeForce RTX 2080", "7.5"), "fp32", "tensorrt", "no float32 matrix products"),
    (machine("NVIDIA GeForce RTX 2080", "7.5", tensorrt=None), "fp32", None, "no float32 matrix products"),
    (machine("Tesla T4", "7.5"), "fp32", "tensorrt", "not for a Tesla T4"),
    (machine("Tesla T4", "7.5", tensorrt=None), "fp32", None, "tensorrt cannot be imported"),
    (machine("Orin", "8.7", rtx=None), "fp32", "tensorrt", "not for a Orin"),
    (machine("Orin", "8.7", tensorrt="8.6.1"), "fp32", None, "8.6.1 is neither 10 nor 11"),
    (machine("NVIDIA H100 PCIe", "9.0"), "fp16", "tensorrt", "not for a NVIDIA H100"),
    (machine("", ""), "fp16", None, "needs an NVIDIA GPU"),
])
def test_the_library_suits_the_gpu(found, precision, library, reason):
    chosen, why = suiting(found, precision)
    assert chosen == library and reason in why
    assert library is None or why_not(library, found, precision) == ""


@pytest.mark.skipif(not here().gpu.missing, reason="this machine has a GPU")
def test_without_a_gpu_its_tests_are_not_run_and_say_why():
    root = Path(__file__).parents[3]
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-rs", "-p", "no:cacheprovider",
         "tests/backends/tensorrt/test_gpu.py", "tests/conformance/test_session.py"],
        cwd=root, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout
    assert " passed" not in outcome.stdout and "needs an NVIDIA GPU" in outcome.stdout
    skipped = outcome.stdout.rpartition(" skipped")[0].split()[-1]
    assert f"not run: {skipped} tests that need an NVIDIA GPU" in outcome.stdout
