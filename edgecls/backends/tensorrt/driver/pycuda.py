"""Driver on pycuda, where it is installed already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgecls.backends.tensorrt.driver.interface import GpuFacts, Handle, PinnedBuffer, cuda_error
from edgecls.errors import DeviceError


class PyCuda:
    """See Driver. Uses the primary context of GPU 0."""

    name = "pycuda"

    def __init__(self) -> None:
        """Raises ImportError without the package (or without libcuda, which it is linked with), DeviceError."""
        import pycuda.driver as cuda

        self._cuda: Any = cuda
        self._closed = False
        self._kept: dict[int, Any] = {}
        with self._words("cuInit"):
            cuda.init()
            self._device = cuda.Device(0)
            self._context = self._device.retain_primary_context()
            self._context.push()

    def facts(self) -> GpuFacts:
        with self._words("cuDeviceGet"):
            major, minor = self._device.compute_capability()
            free, total = self._cuda.mem_get_info()
            version = self._cuda.get_driver_version()
            return GpuFacts(self._device.name(), f"{major}.{minor}", total >> 20, free >> 20,
                            f"{version // 1000}.{version % 1000 // 10}")

    def allocate(self, size: int) -> int:
        with self._words("cuMemAlloc"):
            memory: Any = self._cuda.mem_alloc(max(1, size))
            self._kept[int(memory)] = memory  # pycuda frees what nobody holds
            return int(memory)

    def free(self, address: int) -> None:
        with self._words("cuMemFree"):
            self._kept.pop(address).free()

    def pin(self, size: int) -> PinnedBuffer:
        with self._words("cuMemHostAlloc"):
            array = self._cuda.pagelocked_empty(max(1, size), np.uint8)
            return PinnedBuffer(array, array.base)

    def unpin(self, buffer: PinnedBuffer) -> None:
        with self._words("cuMemFreeHost"):
            buffer.handle.free()

    def to_device(self, address: int, buffer: PinnedBuffer, size: int, stream: Handle) -> None:
        with self._words("cuMemcpyHtoDAsync"):
            self._cuda.memcpy_htod_async(address, buffer.array[:size], stream)

    def to_host(self, buffer: PinnedBuffer, address: int, size: int, stream: Handle) -> None:
        with self._words("cuMemcpyDtoHAsync"):
            self._cuda.memcpy_dtoh_async(buffer.array[:size], address, stream)

    def create_stream(self) -> Handle:
        with self._words("cuStreamCreate"):
            return self._cuda.Stream()

    def stream_number(self, stream: Handle) -> int:
        number: int = stream.handle
        return number

    def synchronize(self, stream: Handle) -> None:
        with self._words("cuStreamSynchronize"):
            stream.synchronize()

    def destroy_stream(self, stream: Handle) -> None:
        """pycuda destroys what nobody holds."""

    def create_event(self) -> Handle:
        with self._words("cuEventCreate"):
            return self._cuda.Event()

    def record(self, event: Handle, stream: Handle) -> None:
        with self._words("cuEventRecord"):
            event.record(stream)

    def elapsed_ns(self, start: Handle, end: Handle) -> int:
        with self._words("cuEventElapsedTime"):
            milliseconds: float = start.time_till(end)
            return round(milliseconds * 1e6)

    def destroy_event(self, event: Handle) -> None:
        """pycuda destroys what nobody holds."""

    def begin_capture(self, stream: Handle) -> None:
        """pycuda has no stream capture."""
        raise DeviceError("pycuda cannot capture CUDA graphs", "run: pip install 'edgecls[cuda]'")

    def end_capture(self, stream: Handle) -> Handle:
        raise DeviceError("pycuda cannot capture CUDA graphs", "run: pip install 'edgecls[cuda]'")

    def launch(self, graph: Handle, stream: Handle) -> None:
        raise DeviceError("pycuda cannot launch CUDA graphs", "run: pip install 'edgecls[cuda]'")

    def destroy_graph(self, graph: Handle) -> None:
        """There is none."""

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(self._cuda.Error):
            self._context.pop()

    @contextlib.contextmanager
    def _words(self, call: str) -> Iterator[None]:
        try:
            yield
        except self._cuda.Error as error:
            raise cuda_error(call, str(error)) from None
