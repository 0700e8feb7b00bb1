"""A FAKE: a driver and a TensorRT that compute on the host. They exist to test what happens when a call fails, and in
which order calls are made and undone; nothing about speed, memory or numbers of a GPU follows from them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgecls.backends.tensorrt.build import WORKER
from edgecls.backends.tensorrt.driver import GpuFacts, PinnedBuffer
from edgecls.backends.tensorrt.driver.interface import cuda_error

VERSION = "1.7.1.116"


class FakeDriver:
    """Memory is numpy arrays by address. fail: name of the call -> CUDA's words, raised each time it is made."""

    name = "fake"

    def __init__(self, capability: str = "8.6", gpu: str = "FAKE GPU") -> None:
        self.memory: dict[int, np.ndarray] = {}
        self.alive: list[tuple[str, Any]] = []
        self.calls: list[str] = []
        self.fail: dict[str, str] = {}
        self.captured: list[Callable[[], None]] | None = None
        self._facts = GpuFacts(gpu, capability, 12288, 11000, "12.4")

    def _made(self, kind: str, call: str, value: Any) -> Any:
        self._do(call)
        self.alive.append((kind, value))
        return value

    def _gone(self, kind: str, value: Any) -> None:
        self.alive.remove((kind, value))

    def _do(self, call: str) -> None:
        self.calls.append(call)
        if call in self.fail:
            raise cuda_error(call, self.fail[call])

    def facts(self) -> GpuFacts:
        return self._facts

    def allocate(self, size: int) -> int:
        address = self._made("memory", "cuMemAlloc", 4096 * (1 + len(self.calls)))
        self.memory[address] = np.zeros(size, np.uint8)
        return address

    def free(self, address: int) -> None:
        self._gone("memory", address)
        del self.memory[address]

    def pin(self, size: int) -> PinnedBuffer:
        number = self._made("pinned", "cuMemHostAlloc", len(self.calls))
        return PinnedBuffer(np.zeros(size, np.uint8), number)

    def unpin(self, buffer: PinnedBuffer) -> None:
        self._gone("pinned", buffer.handle)

    def to_device(self, address: int, buffer: PinnedBuffer, size: int, stream: Any) -> None:
        self._do("cuMemcpyHtoDAsync")
        self.memory[address][:size] = buffer.array[:size]

    def to_host(self, buffer: PinnedBuffer, address: int, size: int, stream: Any) -> None:
        self._do("cuMemcpyDtoHAsync")
        buffer.array[:size] = self.memory[address][:size]

    def create_stream(self) -> Any:
        return self._made("stream", "cuStreamCreate", 77)

    def stream_number(self, stream: Any) -> int:
        return int(stream)

    def synchronize(self, stream: Any) -> None:
        self._do("cuStreamSynchronize")

    def destroy_stream(self, stream: Any) -> None:
        self._gone("stream", stream)

    def create_event(self) -> Any:
        return self._made("event", "cuEventCreate", len(self.calls))

    def record(self, event: Any, stream: Any) -> None:
        self._do("cuEventRecord")

    def elapsed_ns(self, start: Any, end: Any) -> int:
        self._do("cuEventElapsedTime")
        return 1000

    def destroy_event(self, event: Any) -> None:
        self._gone("event", event)

    def begin_capture(self, stream: Any) -> None:
        self._do("cuStreamBeginCapture")
        self.captured = []

    def end_capture(self, stream: Any) -> Any:
        work, self.captured = self.captured, None
        self._made("graph", "cuStreamEndCapture", tuple(work or ()))
        return tuple(work or ())

    def launch(self, graph: Any, stream: Any) -> None:
        self._do("cuGraphLaunch")
        for step in graph:
            step()

    def destroy_graph(self, graph: Any) -> None:
        self._gone("graph", graph)

    def close(self) -> None:
        self.calls.append("close")


def fake_tensorrt(driver: FakeDriver, *, version: str = VERSION, profiles: int = 1, context: bool = True,
                  engine: bool = True, runs: bool = True, y: tuple[str, str, int] = ("y", "float32", 3),
                  takes: str = "", captures: bool = True, capturable: bool | None = None) -> Any:
    """A FAKE module: its engine doubles "x" (batch, 3) into what `y` names (name, type, width). takes: a call of the
    context that answers no. captures: whether it takes kernels while a stream is
    captured. capturable: what a context of TensorRT-RTX says of that; None for TensorRT, which says nothing.
    """

    class Context:
        def __init__(self) -> None:
            self.addresses: dict[str, int] = {}
            self.profile = 0

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return takes != "set_tensor_address"

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self.batch = shape[0]
            return takes != "set_input_shape"

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self.batch, 3 if name == "x" else y[2]

        def set_optimization_profile_async(self, index: int, stream: int) -> bool:
            self.profile = index
            return takes != "set_optimization_profile_async"

        def execute_async_v3(self, stream: int) -> bool:
            def work() -> None:
                source, made = (driver.memory[self.addresses[name]].view(np.float32) for name in ("x", y[0]))
                made[:] = 2 * source

            if driver.captured is not None and not captures:
                return False
            if driver.captured is not None:
                driver.captured.append(work)
            else:
                work()
            return runs

    if capturable is not None:
        Context.is_stream_capturable = lambda self, stream: capturable  # type: ignore[attr-defined]
    made = SimpleNamespace(num_optimization_profiles=profiles, num_io_tensors=2,
                           get_tensor_name=("x", y[0]).__getitem__, get_tensor_mode=lambda name: int(name != "x"),
                           get_tensor_dtype=lambda name: "float32" if name == "x" else y[1],
                           create_execution_context=lambda: Context() if context else None)
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: made if engine else None)
    logger: Any = lambda severity: None  # noqa: E731
    logger.ERROR = 1
    return SimpleNamespace(__version__=version, Logger=logger, Runtime=lambda logger: runtime, nptype=np.dtype,
                           TensorIOMode=SimpleNamespace(INPUT=0, OUTPUT=1))


def fake_worker(folder: Path, library: str) -> Path:
    """A program: the worker on a machine with a FAKE GPU, whose `tensorrt` is the Python text `library`."""
    (folder / "tensorrt.py").write_text(library)
    program = folder / "fake_worker.py"
    program.write_text(f"""import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("worker", {str(WORKER)!r})
worker = module_from_spec(spec)
spec.loader.exec_module(worker)
worker.gpu = lambda: {{"name": "FAKE GPU", "compute_capability": "7.5", "memory_mb": 1, "cuda": "11.4"}}
sys.path.insert(0, {str(folder)!r})
worker.main()
""")
    return program


LOGGER = """
__version__ = "10.7.0"
class ILogger:
    class Severity:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)
    def __init__(self): pass
"""
"""Of a FAKE tensorrt: what its other parts write to."""
