"""Run a plan on this machine's GPU: device buffers, one stream, pinned memory, events, a CUDA graph per batch size."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
import numpy as np

from edgecls.backends.host_session import HostSession, check_threads
from edgecls.backends.onnx_specs import Specs
from edgecls.backends.tensorrt.build import try_plan
from edgecls.backends.tensorrt.compatible import check_place, check_runnable, import_library
from edgecls.backends.tensorrt.driver import Driver, Handle, PinnedBuffer, open_driver
from edgecls.backends.tensorrt.recipe import Part, read_recipe
from edgecls.backends.tensorrt.worker import driver_version
from edgecls.bundle import read_member
from edgecls.errors import BundleError, DeviceError
from edgecls.interfaces import Device
from edgecls.runtime.feed import at_batch, spec_bytes
from edgecls.types import Array, Artifact, DeviceFacts, GpuState, MeasureSettings, Samples

_KEPT = 1_000_000
_AGAIN = "compile the model again with this version of edgecls"


def open_gpu_session(artifact: Artifact, device: Device, threads: int) -> GpuSession:
    """Check first, in the order of what can be known without a GPU; then load each plan, apart before here.

    Raises BundleError (unfinished, another runtime, version or GPU), MissingExtraError, DeviceError.
    """
    check_threads(threads)
    library = check_runnable(artifact, device.name)
    recipe = read_recipe(artifact)
    trt = import_library(artifact, library)
    driver = open_driver()
    try:
        check_place(artifact, recipe, driver.facts())
        plans = [(part, read_member(artifact, part.plan or "")) for part in recipe.parts]
        for _, plan in plans:
            try_plan(plan, library)
    except BaseException:
        driver.close()
        raise
    return GpuSession(artifact, plans, trt, driver, device, threads)


class GpuSession(HostSession):
    """See edgecls.interfaces.Session. Not for use from two threads at once. threads: of the host, not used.

    driver: the session closes it, also when it cannot be opened.
    """

    def __init__(self, artifact: Artifact, plans: Sequence[tuple[Part, bytes]], trt: Any, driver: Driver,
                 device: Device, threads: int) -> None:
        manifest = artifact.manifest
        smallest = manifest.batches[0]
        specs: dict[int, Specs] = {
            b: (tuple(at_batch(s, b, smallest) for s in manifest.inputs),
                tuple(at_batch(s, b, smallest) for s in manifest.outputs)) for b in manifest.batches}
        super().__init__(specs, manifest.contract, artifact.hash, threads, device.facts)
        self._driver = driver
        self._stack = ExitStack()
        self._stack.callback(driver.close)
        self._runners: dict[int, _Runner] = {}
        try:
            self._stream = driver.create_stream()
            self._stack.callback(driver.destroy_stream, self._stream)
            logger = trt.Logger(trt.Logger.ERROR)
            runtime = trt.Runtime(logger)
            for part, plan in plans:
                engine = runtime.deserialize_cuda_engine(plan)
                if engine is None:
                    raise BundleError(f"{artifact.path}: TensorRT does not take its plan",
                                      "compile the model again for this GPU and this version of the library")
                for profile, batch in enumerate(part.batches):
                    runner = _Runner(trt, engine, profile, specs[batch], driver, self._stream)
                    self._stack.callback(runner.close)
                    self._runners[batch] = runner
        except BaseException:
            self.close()
            raise

    def _invoke(self, batch: int, feed: dict[str, Array]) -> dict[str, Array]:
        return self._runners[batch].run(feed)

    def measure(self, settings: MeasureSettings) -> Samples:
        """End to end with transfers, by the host's clock; and of the same runs the GPU's time without, by events."""
        samples = super().measure(settings)  # checks the settings, and every run leaves its GPU time
        runner = self._runners[settings.batch]
        return Samples(kind="time_ns", values=samples.values, gpu_ns=tuple(runner.gpu_ns)[-settings.runs:])

    def facts(self) -> DeviceFacts:
        """With the GPU, its driver and CUDA."""
        facts, gpu = super().facts(), self._driver.facts()
        return msgspec.structs.replace(facts, gpu=GpuState(
            name=gpu.name, compute_capability=gpu.compute_capability, driver=driver_version(), cuda=gpu.cuda,
            memory_total_mb=gpu.memory_total_mb, memory_free_mb=gpu.memory_free_mb))

    def close(self) -> None:
        """Free everything on the GPU. Any further use is a DeviceError."""
        if not self._closed:
            super().close()
            self._runners.clear()
            self._stack.close()


class _Runner:
    """One batch size: its context, its buffers on both sides, and the graph of its kernels.

    gpu_ns: of each run, from the first kernel to the last.
    """

    def __init__(self, trt: Any, engine: Any, profile: int, specs: Specs, driver: Driver, stream: Handle) -> None:
        self._driver, self._stream, self._specs = driver, stream, specs
        self._stack = ExitStack()
        self._graph: Handle | None = None
        self.gpu_ns: deque[int] = deque(maxlen=_KEPT)
        self._device: dict[str, int] = {}
        self._host: dict[str, PinnedBuffer] = {}
        try:
            self._context = engine.create_execution_context()
            if self._context is None:
                raise DeviceError("the engine cannot start: there is too little memory on the GPU",
                                  "close other programs on it (nvidia-smi lists them), or compile a smaller --batch")
            number = driver.stream_number(stream)
            if engine.num_optimization_profiles > 1:
                if not self._context.set_optimization_profile_async(profile, number):
                    raise BundleError(f"the plan has no optimisation profile {profile}, unlike the manifest", _AGAIN)
                driver.synchronize(stream)
            self._check_tensors(trt, engine)
            for spec in (*specs[0], *specs[1]):
                self._device[spec.name] = driver.allocate(spec_bytes(spec))
                self._stack.callback(driver.free, self._device[spec.name])
                self._host[spec.name] = driver.pin(spec_bytes(spec))
                self._stack.callback(driver.unpin, self._host[spec.name])
                if not self._context.set_tensor_address(spec.name, self._device[spec.name]):
                    raise DeviceError(f"the engine does not take its buffer for {spec.name!r}",
                                      "look for NVRM messages in dmesg, and for memory: nvidia-smi")
            self._events = tuple(self._event() for _ in range(2))
            self._enqueue()  # the first run compiles and allocates, which no capture may
            driver.synchronize(stream)
            self._capture()
        except BaseException:
            self.close()
            raise

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Transfers, kernels and transfers on one stream."""
        inputs, outputs = self._specs
        for spec in inputs:
            size = spec_bytes(spec)
            self._host[spec.name].array[:size] = np.frombuffer(feed[spec.name].tobytes(), np.uint8)
            self._driver.to_device(self._device[spec.name], self._host[spec.name], size, self._stream)
        start, end = self._events
        self._driver.record(start, self._stream)
        if self._graph is not None:
            self._driver.launch(self._graph, self._stream)
        else:
            self._enqueue()
        self._driver.record(end, self._stream)
        for spec in outputs:
            self._driver.to_host(self._host[spec.name], self._device[spec.name], spec_bytes(spec), self._stream)
        self._driver.synchronize(self._stream)
        self.gpu_ns.append(self._driver.elapsed_ns(start, end))
        return {spec.name: self._host[spec.name].array[:spec_bytes(spec)].view(spec.dtype).reshape(spec.shape).copy()
                for spec in outputs}

    def close(self) -> None:
        self._stack.close()
        self._context = None

    def _check_tensors(self, trt: Any, engine: Any) -> None:
        """What the engine reads and writes has the names, types and shapes that its buffers are made for."""
        inputs, outputs = self._specs
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        mine = {True: {s.name for s in inputs}, False: {s.name for s in outputs}}
        for is_input, title in ((True, "inputs"), (False, "outputs")):
            its = {n for n in names if (engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT) == is_input}
            if its != mine[is_input]:
                raise BundleError(f"the plan has the {title} {sorted(its)}, and the manifest {sorted(mine[is_input])}",
                                  _AGAIN)
        for spec in inputs:
            if not self._context.set_input_shape(spec.name, spec.shape):
                raise BundleError(f"the plan does not take {spec.name!r} of shape {list(spec.shape)}, unlike the "
                                  "manifest", _AGAIN)
        for spec in (*inputs, *outputs):
            shape, dtype = tuple(self._context.get_tensor_shape(spec.name)), engine.get_tensor_dtype(spec.name)
            if shape != spec.shape or _numpy_name(trt, dtype) != spec.dtype:
                raise BundleError(f"the plan's {spec.name!r} is {_numpy_name(trt, dtype)} {list(shape)}, and the "
                                  f"manifest's {spec.dtype} {list(spec.shape)}", _AGAIN)

    def _event(self) -> Handle:
        event = self._driver.create_event()
        self._stack.callback(self._driver.destroy_event, event)
        return event

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._driver.stream_number(self._stream)):
            raise DeviceError("the engine does not run on this GPU",
                              "look for NVRM messages in dmesg, and for memory: nvidia-smi")

    def _capture(self) -> None:
        """All kernels as one graph, launched at once; an engine that cannot be captured is enqueued each time."""
        capturable = getattr(self._context, "is_stream_capturable", None)  # TensorRT-RTX knows beforehand
        if capturable is not None and not capturable(self._driver.stream_number(self._stream)):
            return
        try:
            self._driver.begin_capture(self._stream)
        except DeviceError:
            return
        whole = False
        with suppress(DeviceError):
            self._enqueue()
            whole = True
        try:
            graph = self._driver.end_capture(self._stream)
        except DeviceError:  # something in it could not be captured
            return
        if not whole:  # what was captured lacks kernels, and would answer with what the buffers held before
            self._driver.destroy_graph(graph)
            return
        self._graph = graph
        self._stack.callback(self._driver.destroy_graph, graph)


def _numpy_name(trt: Any, dtype: Any) -> str:
    """"float32" of trt.float32; the library's own word for what numpy has not."""
    try:
        return str(np.dtype(trt.nptype(dtype)).name)
    except TypeError:
        return str(dtype)
