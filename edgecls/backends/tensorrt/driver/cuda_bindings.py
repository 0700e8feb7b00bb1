"""Driver on cuda-bindings (cuda.bindings.driver), NVIDIA's maintained Python bindings."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any

import numpy as np

from edgecls.backends.tensorrt.driver.interface import GpuFacts, Handle, PinnedBuffer, cuda_error
from edgecls.errors import DeviceError, first_line


class CudaBindings:
    """See Driver. Uses the primary context of GPU 0, which TensorRT's runtime uses as well."""

    name = "cuda-bindings"

    def __init__(self) -> None:
        """Raises ImportError without the package, DeviceError without driver or GPU."""
        from cuda.bindings import driver

        self._cuda: Any = driver
        self._closed = False
        self._call("cuInit", 0)
        self._device = self._call("cuDeviceGet", 0)
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)
        self._call("cuCtxSetCurrent", self._context)

    def facts(self) -> GpuFacts:
        attribute = self._cuda.CUdevice_attribute
        major, minor = (self._call("cuDeviceGetAttribute", a, self._device) for a in (
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR))
        free, total = self._call("cuMemGetInfo")
        version = self._call("cuDriverGetVersion")
        name: str = self._call("cuDeviceGetName", 256, self._device).split(b"\0")[0].decode("ascii", "replace")
        return GpuFacts(name, f"{major}.{minor}", total >> 20, free >> 20,
                        f"{version // 1000}.{version % 1000 // 10}")

    def allocate(self, size: int) -> int:
        return int(self._call("cuMemAlloc", max(1, size)))

    def free(self, address: int) -> None:
        self._call("cuMemFree", address)

    def pin(self, size: int) -> PinnedBuffer:
        address = int(self._call("cuMemHostAlloc", max(1, size), 0))
        memory = (ctypes.c_uint8 * max(1, size)).from_address(address)
        return PinnedBuffer(np.ctypeslib.as_array(memory), address)

    def unpin(self, buffer: PinnedBuffer) -> None:
        self._call("cuMemFreeHost", buffer.handle)

    def to_device(self, address: int, buffer: PinnedBuffer, size: int, stream: Handle) -> None:
        self._call("cuMemcpyHtoDAsync", address, buffer.handle, size, stream)

    def to_host(self, buffer: PinnedBuffer, address: int, size: int, stream: Handle) -> None:
        self._call("cuMemcpyDtoHAsync", buffer.handle, address, size, stream)

    def create_stream(self) -> Handle:
        return self._call("cuStreamCreate", self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)

    def stream_number(self, stream: Handle) -> int:
        return int(stream)

    def synchronize(self, stream: Handle) -> None:
        self._call("cuStreamSynchronize", stream)

    def destroy_stream(self, stream: Handle) -> None:
        self._call("cuStreamDestroy", stream)

    def create_event(self) -> Handle:
        return self._call("cuEventCreate", self._cuda.CUevent_flags.CU_EVENT_DEFAULT)

    def record(self, event: Handle, stream: Handle) -> None:
        self._call("cuEventRecord", event, stream)

    def elapsed_ns(self, start: Handle, end: Handle) -> int:
        milliseconds: float = self._call("cuEventElapsedTime", start, end)
        return round(milliseconds * 1e6)

    def destroy_event(self, event: Handle) -> None:
        self._call("cuEventDestroy", event)

    def begin_capture(self, stream: Handle) -> None:
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)

    def end_capture(self, stream: Handle) -> Handle:
        graph = self._call("cuStreamEndCapture", stream)
        try:
            return self._call("cuGraphInstantiate", graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)

    def launch(self, graph: Handle, stream: Handle) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Handle) -> None:
        self._call("cuGraphExecDestroy", graph)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(DeviceError):
            self._call("cuDevicePrimaryCtxRelease", self._device)

    def _call(self, name: str, *arguments: Any) -> Any:
        """The results of a driver call, without its status. Raises DeviceError."""
        try:
            status, *results = getattr(self._cuda, name)(*arguments)
        except RuntimeError as error:  # how it says that there is no libcuda, or that it lacks the function
            raise DeviceError(f"no NVIDIA driver can be used: {name}: {first_line(error)}",
                              "install NVIDIA's newest driver for this GPU; `edgecls doctor` says what is missing"
                              ) from None
        if status != self._cuda.CUresult.CUDA_SUCCESS:
            raise cuda_error(name, getattr(status, "name", str(status)))
        return results[0] if len(results) == 1 else tuple(results)
