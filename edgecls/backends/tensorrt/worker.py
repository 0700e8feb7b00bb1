"""The one program that loads NVIDIA's library: started for each request, so that a crash in it ends nothing else.

Run as a file, here or on a device, by whatever Python has the library; it imports the standard library, and of edgecls
nothing. Standard input holds one line of JSON, the request, then the bytes it announces. Standard output answers with
lines of JSON: any number of {"progress": ...}, then one {"result": ...} or {"error": ...} that announces the bytes that
follow it.

    facts     -> the GPU, its driver and the library's version, or what is missing of them
    check     model -> the parser's errors
    build     model, timing cache -> plan, timing cache
    load      plan -> whether this machine's library takes it

Requests: {"do", "library": "tensorrt_rtx" | "tensorrt", "model_bytes", "cache_bytes", "compute_capability": "8.6" or
null for the GPU that is here, "profiles": [{input: shape}], "tf32": bool}.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import select
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterable  # noqa: UP035 - Python 3.8, as on JetPack 5, has nothing newer

Answer = Any
Progress = Callable[[str, int, int], None]

MAX_LINE = 1 << 20
MAX_BYTES = 1 << 34


def main() -> None:
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]  # its neighbours
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the library prints goes to standard error
    threading.Thread(target=end_with_reader, args=(answers.fileno(),), daemon=True).start()
    request = json.loads(sys.stdin.buffer.readline(MAX_LINE))
    blobs = {name: take(request.get(name + "_bytes", 0)) for name in ("model", "cache")}

    def send(value: Any, *parts: bytes) -> None:
        answers.write(json.dumps(value).encode() + b"\n")
        for part in parts:
            answers.write(part)
        answers.flush()

    def tell(stage: str, done: int, total: int) -> None:
        send({"progress": [stage, done, total]})

    try:
        send(*ACTIONS[request["do"]](request, blobs, tell))
    except Refused as refused:
        send({"error": {"kind": refused.kind, "message": str(refused), "details": refused.details}})
    except MemoryError:
        send({"error": {"kind": "memory", "message": "memory ran out", "details": []}})


def end_with_reader(answers: int) -> None:
    """Nobody wants the engine when edgecls has gone."""
    poll = select.poll()
    poll.register(answers, 0)  # errors and hang-ups are told unasked
    poll.poll()
    os._exit(2)


def take(size: int) -> bytes:
    if not 0 <= size <= MAX_BYTES:
        raise ValueError(f"{size} bytes were announced")
    data = sys.stdin.buffer.read(size)
    if len(data) != size:
        raise EOFError("the request ended early")
    return data


class Refused(Exception):
    """kind: library | gpu | start | capability | parse | build | plan. details: the library's own words."""

    def __init__(self, kind: str, message: str, details: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.kind, self.details = kind, list(details)


# ---------------------------------------------------------------- what is here


def facts(request: Any, blobs: Any, progress: Progress) -> Answer:
    found = {"machine": platform.machine(), "python": platform.python_version(), "gpu": gpu(),
             "driver": driver_version()}
    for name in ("tensorrt", "tensorrt_rtx"):
        try:
            found[name] = {"version": __import__(name).__version__}
        except Exception as error:  # an ImportError, an OSError, or whatever the package raises by itself
            found[name] = {"missing": first_line(error)}
    return ({"result": found},)


def gpu() -> dict[str, Any]:
    """Through the driver's own library, which comes with the driver and never with CUDA."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"missing": "no NVIDIA driver: " + first_line(error)}
    status = cuda.cuInit(0)
    if status:
        return {"missing": f"the NVIDIA driver does not start (CUDA error {status})"}
    count = ctypes.c_int()
    if cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return {"missing": "the NVIDIA driver finds no GPU"}
    name, memory, api = ctypes.create_string_buffer(256), ctypes.c_size_t(), ctypes.c_int()
    cuda.cuDeviceGetName(name, 256, 0)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), 0)
    cuda.cuDriverGetVersion(ctypes.byref(api))
    major, minor = ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, 0)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, 0)  # ..._MINOR
    return {"name": name.value.decode("ascii", "replace"), "memory_mb": memory.value >> 20,
            "compute_capability": f"{major.value}.{minor.value}",
            "cuda": f"{api.value // 1000}.{api.value % 1000 // 10}"}


def driver_version() -> str:
    """Of the kernel module, as "550.54.15"; on a Jetson the release of its software; "" when there is none."""
    for path, pattern in (("/proc/driver/nvidia/version", r"Kernel Module\s+(?:for \S+\s+)?([0-9.]+)"),
                          ("/etc/nv_tegra_release", r"# (R[0-9]+ \(release\), REVISION: [0-9.]+)")):
        try:
            match = re.search(pattern, Path(path).read_text(errors="replace"))
        except OSError:
            continue
        if match:
            return match.group(1)
    return ""


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


# ---------------------------------------------------------------- the library


def load(name: str) -> Any:
    try:
        return __import__(name)
    except Exception as error:
        raise Refused("library", first_line(error)) from None


def make_logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """errors, cuda: what it calls errors, and warnings of CUDA. layers: the table of engine layers, one message."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.cuda: list[str] = []
            self.layers = ""
            self.memory: dict[str, int] = {}

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.Severity.WARNING:
                if "CUDA" in message:
                    self.cuda.append(message)
            elif message.startswith("Layers:"):
                self.layers = message
            else:
                match = re.match(r"Total (Activation|Weights) Memory: ([0-9]+) bytes", message)
                if match:
                    self.memory[match.group(1).lower()] = int(match.group(2))

    return Logger()


def begin(kind: Any, logger: Any) -> Any:
    """kind: trt.Builder or trt.Runtime. Where CUDA does not work, its constructor gives nothing: a TypeError of
    pybind11, with the reason only in the log.
    """
    try:
        return kind(logger)
    except Exception as error:
        raise Refused("start", first_line(error), [*logger.errors, *logger.cuda]) from None


def parse(trt: Any, logger: Any, builder: Any, model: bytes) -> tuple[Any, Any]:
    """The network, and the parser that must outlive it; or Refused with every error of the parser."""
    flags = trt.NetworkDefinitionCreationFlag
    typed = 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0  # the only kind, some day
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        raise Refused("parse", "the parser refuses the network", [
            {"code": str(e.code()).rpartition(".")[2], "node": e.node_name(), "op": e.node_operator(),
             "reason": e.desc()} for e in errors])
    return network, parser


def check(request: Any, blobs: Any, progress: Progress) -> Answer:
    trt = load(request["library"])
    logger = make_logger(trt)
    network, _ = parse(trt, logger, begin(trt.Builder, logger), blobs["model"])
    return ({"result": {"network_layers": network.num_layers, "version": trt.__version__}},)


def build(request: Any, blobs: Any, progress: Progress) -> Answer:
    trt = load(request["library"])
    if request["compute_capability"] is None and "missing" in gpu():  # without one, builders of TensorRT 10 crash
        raise Refused("gpu", gpu()["missing"])
    logger = make_logger(trt)
    builder = begin(trt.Builder, logger)
    network, _parser = parse(trt, logger, builder, blobs["model"])
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if hasattr(trt.BuilderFlag, "TF32") and not request["tf32"]:  # it is on unless cleared
        config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # RTX: an engine that allocates as it runs is in no graph
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if hasattr(trt, "IProgressMonitor"):
        monitor = make_monitor(trt, progress)  # a name, because the library does not keep it alive
        config.progress_monitor = monitor
    if request["compute_capability"] is not None:
        set_capability(trt, config, request["compute_capability"])
    for shapes in request["profiles"]:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, tuple(shape), tuple(shape), tuple(shape))
        config.add_optimization_profile(profile)
    cache = None
    if request["library"] == "tensorrt":
        cache = config.create_timing_cache(blobs["cache"])
        config.set_timing_cache(cache, False)
    start = time.monotonic()
    plan = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - start
    if plan is None:
        raise Refused("build", "the builder gives no engine", logger.errors)
    plan = bytes(plan)
    result = {"version": trt.__version__, "seconds": seconds, "network_layers": network.num_layers,
              "network_types": network_types(network), "layers": logger.layers, "memory": logger.memory,
              "inspector": inspect(trt, logger, plan, request), "plan_bytes": len(plan)}
    timings = bytes(cache.serialize()) if cache is not None else b""
    return {"result": dict(result, cache_bytes=len(timings))}, plan, timings


def network_types(network: Any) -> dict[str, int]:
    """How many layers make float, half, int8...: by the type of their first output."""
    counts: dict[str, int] = {}
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.num_outputs and layer.get_output(0) is not None:
            name = str(layer.get_output(0).dtype).rpartition(".")[2].lower()
            counts[name] = counts.get(name, 0) + 1
    return counts


def set_capability(trt: Any, config: Any, capability: str) -> None:
    known = [n for n in dir(trt.ComputeCapability) if re.match(r"SM[0-9]+$", n)]
    name = "SM" + capability.replace(".", "")
    if name not in known:
        words = ", ".join(f"{n[2:-1]}.{n[-1]}" for n in sorted(known, key=lambda n: int(n[2:])))
        raise Refused("capability", f"compute capability {capability} cannot be built for ahead of time, only {words}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)


def make_monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Tells of the outermost phases only."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self.steps[name] = steps
                progress(name, 0, steps)

        def step_complete(self, name: str, step: int) -> bool:
            if name in self.steps:
                progress(name, step + 1, self.steps[name])
            return True

        def phase_finish(self, name: str) -> None:
            self.steps.pop(name, None)

    return Monitor()


def inspect(trt: Any, logger: Any, plan: bytes, request: Any) -> list[str]:
    """EngineInspector's JSON of each profile, where there is a GPU that can take the plan; else [].

    Only with a context that knows its shapes does it tell dimensions and types of an engine with several.
    """
    if request["compute_capability"] is not None:
        return []
    engine = begin(trt.Runtime, logger).deserialize_cuda_engine(plan)  # which keeps the runtime alive
    tables: list[str] = []
    for index, shapes in enumerate(request["profiles"] or [{}]):
        context = engine.create_execution_context() if engine is not None else None
        if context is None or (index and not context.set_optimization_profile_async(index, 0)):
            return []
        if not all(context.set_input_shape(name, tuple(shape)) for name, shape in shapes.items()):
            return []
        inspector = engine.create_engine_inspector()
        inspector.execution_context = context
        tables.append(str(inspector.get_engine_information(trt.LayerInformationFormat.JSON)))
        del inspector, context  # in this order, and before the next one asks for memory
    return tables


def load_plan(request: Any, blobs: Any, progress: Progress) -> Answer:
    """In a process of its own first: a plan that the library does not like may end the process that loads it."""
    trt = load(request["library"])
    if "missing" in gpu():
        raise Refused("gpu", gpu()["missing"])
    logger = make_logger(trt)
    engine = begin(trt.Runtime, logger).deserialize_cuda_engine(blobs["model"])
    if engine is None:
        raise Refused("plan", "the library does not take the plan", logger.errors)
    return ({"result": {"version": trt.__version__, "profiles": engine.num_optimization_profiles}},)


ACTIONS: dict[str, Callable[[Any, Any, Progress], Answer]] = {
    "facts": facts, "check": check, "build": build, "load": load_plan}

if __name__ == "__main__":
    main()
