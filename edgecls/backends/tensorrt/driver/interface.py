"""Driver: what a session asks of CUDA. Every call raises DeviceError with CUDA's own words."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from edgecls.errors import DeviceError, MissingExtraError
from edgecls.types import Array

Handle = Any
"""A stream, an event or an instantiated graph: of the driver's own type, and given back to it alone."""
DRIVERS = {"cuda-bindings": ("edgecls.backends.tensorrt.driver.cuda_bindings:CudaBindings", "cuda"),
           "pycuda": ("edgecls.backends.tensorrt.driver.pycuda:PyCuda", "pycuda")}
"""Name -> ("module:Class", package), in the order of preference. EDGECLS_CUDA names one."""


class GpuFacts(NamedTuple):
    """cuda: the newest CUDA version the driver serves, as "12.4". Megabytes are MiB."""

    name: str
    compute_capability: str
    memory_total_mb: int
    memory_free_mb: int
    cuda: str


class PinnedBuffer(NamedTuple):
    """Host memory the GPU reads and writes by itself. array: uint8 view, valid until it is freed."""

    array: Array
    handle: Handle


class Driver(Protocol):
    """One GPU, its context current in the thread that opened it. Sizes are bytes, addresses are on the device."""

    name: str

    def facts(self) -> GpuFacts: ...

    def allocate(self, size: int) -> int:
        """Device memory, 256-byte aligned. Raises DeviceError, also when it runs out."""

    def free(self, address: int) -> None: ...

    def pin(self, size: int) -> PinnedBuffer: ...

    def unpin(self, buffer: PinnedBuffer) -> None: ...

    def to_device(self, address: int, buffer: PinnedBuffer, size: int, stream: Handle) -> None: ...

    def to_host(self, buffer: PinnedBuffer, address: int, size: int, stream: Handle) -> None: ...

    def create_stream(self) -> Handle: ...

    def stream_number(self, stream: Handle) -> int:
        """As TensorRT takes it: the CUstream as an integer."""

    def synchronize(self, stream: Handle) -> None: ...

    def destroy_stream(self, stream: Handle) -> None: ...

    def create_event(self) -> Handle: ...

    def record(self, event: Handle, stream: Handle) -> None: ...

    def elapsed_ns(self, start: Handle, end: Handle) -> int:
        """Between two recorded events whose stream has been synchronised; CUDA's resolution is about 500 ns."""

    def destroy_event(self, event: Handle) -> None: ...

    def begin_capture(self, stream: Handle) -> None: ...

    def end_capture(self, stream: Handle) -> Handle:
        """The captured calls as one instantiated graph."""

    def launch(self, graph: Handle, stream: Handle) -> None: ...

    def destroy_graph(self, graph: Handle) -> None: ...

    def close(self) -> None:
        """Release the context, once. Never raises."""


def open_driver(name: str | None = None) -> Driver:
    """The first of DRIVERS that is installed, or the one asked for; on the first GPU.

    Raises MissingExtraError (no bindings), DeviceError (no driver, no GPU).
    """
    name = name or os.environ.get("EDGECLS_CUDA") or None
    if name is not None and name not in DRIVERS:
        raise DeviceError(f"there are no CUDA bindings {name!r}", f"choose one of: {', '.join(DRIVERS)}")
    lacking = []
    for known, (place, package) in DRIVERS.items():
        if name not in (None, known):
            continue
        module, _, kind = place.partition(":")
        try:
            driver: Driver = getattr(import_module(module), kind)()
            return driver
        except ImportError as error:
            lacking.append(f"{package}: {error}")
    raise MissingExtraError(f"no bindings to CUDA can be imported ({'; '.join(lacking)})",
                            "run: pip install 'edgecls[cuda]'")


def cuda_error(call: str, text: str) -> DeviceError:
    """CUDA's own words, and the step that usually helps."""
    low = text.lower()
    hint = "run `edgecls doctor`, and look into dmesg for NVRM messages"
    if "out_of_memory" in low or "out of memory" in low:
        hint = "close other programs on the GPU (nvidia-smi lists them), or compile a smaller --batch"
    elif "no_device" in low or "no device" in low or "no cuda-capable" in low:
        hint = "check that the GPU is visible: nvidia-smi, CUDA_VISIBLE_DEVICES"
    elif "insufficient_driver" in low or "system_driver_mismatch" in low or "insufficient" in low:
        hint = "install a newer NVIDIA driver: the library is newer than it allows"
    return DeviceError(f"{call} failed: {text}", hint)
