"""What a run on an NVIDIA GPU needs, in the order it needs it, and where each part comes from."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from edgecls.errors import EdgeclsError

if TYPE_CHECKING:
    from edgecls.backends.tensorrt.answers import LibraryFound

_DRIVER = ("install NVIDIA's driver (Debian: apt-get install nvidia-driver, from non-free; on a Jetson it comes with "
           "JetPack), then restart; nvidia-smi must list the GPU")
_RTX = ("pip install 'edgecls[tensorrt]': builds plans ahead of time with no GPU, and runs them on RTX cards of "
        "compute capability 7.5, 8.6, 8.9 and 12.x")
_RTX_AARCH64 = "; on aarch64 it asks for glibc 2.35"
_TENSORRT = ("TensorRT 10 or 11 is not on PyPI, whose packages of that name fetch it from NVIDIA's own package index: "
             "pip install tensorrt --extra-index-url with that index, or NVIDIA's .deb repository; on a Jetson: "
             "sudo apt install tensorrt (JetPack)")
_BINDINGS = "pip install 'edgecls[cuda]' (cuda-bindings, the default), or pycuda where a CUDA toolkit is installed"


class GpuFinding(NamedTuple):
    subject: str
    text: str
    fix: str = ""


def gpu_findings() -> Iterator[GpuFinding]:
    """One line for each thing that a GPU run needs: with a fix where it is missing."""
    try:
        from edgecls.backends.tensorrt.build import Place, facts

        here = facts(Place())
    except EdgeclsError as error:
        yield GpuFinding("gpu", error.message, error.hint)
        return
    gpu = here.gpu
    if gpu.missing:
        yield GpuFinding("gpu", gpu.missing, _DRIVER)
    else:
        yield GpuFinding("gpu", f"{gpu.name}, compute capability {gpu.compute_capability}, "
                                f"driver {here.driver or 'unknown'}, CUDA {gpu.cuda}")
    yield _library("tensorrt-rtx", here.tensorrt_rtx,
                   _RTX + (_RTX_AARCH64 if platform.machine() == "aarch64" else ""))
    yield _library("tensorrt", here.tensorrt, _TENSORRT)
    yield _bindings()
    lacking = [name for name, missing in (
        ("a GPU with its driver", bool(gpu.missing)), ("bindings to CUDA", bool(_bindings().fix)),
        ("tensorrt-rtx or tensorrt", bool(here.tensorrt.missing and here.tensorrt_rtx.missing))) if missing]
    if lacking:
        yield GpuFinding("gpu run", f"not possible here: lacks {', '.join(lacking)}", "see the lines above")
    else:
        yield GpuFinding("gpu run", "possible: pytest -m gpu proves it")


def _library(name: str, found: LibraryFound, fix: str) -> GpuFinding:
    if found.missing:
        return GpuFinding(name, f"cannot be imported: {found.missing}", fix)
    return GpuFinding(name, found.version)


def _bindings() -> GpuFinding:
    """Whether a driver is there is another question."""
    from importlib import metadata

    for package in ("cuda-bindings", "pycuda"):
        try:
            return GpuFinding("cuda bindings", f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return GpuFinding("cuda bindings", "neither cuda-bindings nor pycuda is installed", _BINDINGS)
