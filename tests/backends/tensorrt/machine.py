"""Which GPU is here, and which library suits it. What cannot run is a reason, and the test that asked is skipped with
it: tests/conftest.py counts it as not run.
"""

from __future__ import annotations

import functools
from typing import get_args

import msgspec
import pytest

from edgecls.backends.tensorrt.answers import Facts, GpuFound
from edgecls.backends.tensorrt.build import Library, Place, facts
from edgecls.backends.tensorrt.driver import open_driver
from edgecls.backends.tensorrt.finish import SUPPORTED
from edgecls.errors import DeviceError, MissingExtraError
from edgecls.targets import native_target
from edgecls.types import Gpu, Target

AHEAD_OF_TIME = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""What TensorRT-RTX builds for."""


@functools.cache
def here() -> Facts:
    return facts(Place())


def why_not(library: Library, found: Facts, precision: str = "fp16") -> str:
    """Why engines of `library` cannot run on the machine that `found` describes; "" when they can."""
    gpu, installed = found.gpu, found.tensorrt if library == "tensorrt" else found.tensorrt_rtx
    if gpu.missing:
        return f"needs an NVIDIA GPU: {gpu.missing}"
    if library == "tensorrt_rtx" and ("RTX" not in gpu.name or gpu.compute_capability not in AHEAD_OF_TIME):
        return f"TensorRT-RTX is for RTX cards, not for a {gpu.name} ({gpu.compute_capability})"
    if installed.missing:
        return f"{library} cannot be imported: {installed.missing}"
    if library == "tensorrt" and not installed.version.startswith(SUPPORTED):
        return f"TensorRT {installed.version} is neither 10 nor 11"
    if library == "tensorrt_rtx" and gpu.compute_capability == "7.5" and precision == "fp32":
        return "TensorRT-RTX has no float32 matrix products for compute capability 7.5"
    return ""


def suiting(found: Facts, precision: str) -> tuple[Library | None, str]:
    """The first library that can run `precision` there; or None, and the reasons."""
    reasons = {library: why_not(library, found, precision) for library in get_args(Library)}
    chosen = next((library for library, reason in reasons.items() if not reason), None)
    return chosen, "; ".join(dict.fromkeys(filter(None, reasons.values())))


def board_for(library: Library, gpu: GpuFound) -> Target:
    """This machine with that GPU, as the target of `library`."""
    return msgspec.structs.replace(native_target(), gpu=Gpu(
        name=gpu.name, compute_capability=gpu.compute_capability, memory_mb=gpu.memory_mb,
        rtx=library == "tensorrt_rtx"))


def need_bindings(name: str | None = None) -> None:
    """Skip where these bindings to CUDA are not installed, or cannot start on this machine."""
    if here().gpu.missing:
        pytest.skip(f"needs an NVIDIA GPU: {here().gpu.missing}")
    try:
        open_driver(name).close()
    except (MissingExtraError, DeviceError) as error:
        pytest.skip(error.message)
