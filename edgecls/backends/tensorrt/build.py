"""Asking worker.py: start it, feed it, follow it, and say in one sentence what went wrong."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import msgspec

from edgecls.backends.tensorrt.answers import Answer, Built, Checked, Facts, Loaded, Refusal
from edgecls.backends.tensorrt.network import Network
from edgecls.errors import BundleError, DeviceError, EdgeclsError, MissingExtraError, ToolchainError, UnsupportedError
from edgecls.frozen import decode_json
from edgecls.interfaces import Device, Progress, silent
from edgecls.runtime.wire import ready
from edgecls.types import Unsupported

T = TypeVar("T")
Library = Literal["tensorrt_rtx", "tensorrt"]
WORKER = Path(__file__).with_name("worker.py")
LIBRARY_NAMES = {"tensorrt_rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}
INSTALL: dict[Library, str] = {
    "tensorrt_rtx": "run: pip install 'edgecls[tensorrt]' (x86-64: any Linux; aarch64: glibc 2.35 or newer)",
    "tensorrt": "install TensorRT 10 or 11 from NVIDIA's own package index (pip install tensorrt --extra-index-url), "
                "its .deb repository, or on a Jetson JetPack (sudo apt install tensorrt)"}
_MAX_LINE = 64 << 20
_MAX_COMPLAINT = 64 << 10
_SHOWN = 600
_OLD_DRIVER = re.compile(  # CUDA's errors 35, 36, 222 and 803
    r"driver version is insufficient|(?:failure with error|cudaError)[: ]*(?:35|36)\b|newer (?:CUDA |display )?driver|"
    r"unsupported toolchain|unsupported display driver", re.IGNORECASE)


class Place:
    """Where the worker runs: in this machine's Python, or on a device whose python3 has the library."""

    def __init__(self, device: Device | None = None) -> None:
        self._device = device
        self._folder: str | None = None

    @property
    def name(self) -> str:
        return "this machine" if self._device is None or self._device.name == "local" else self._device.name

    @property
    def patience_s(self) -> float | None:
        """None on this machine, where nothing comes between edgecls and the worker."""
        return None if self._device is None or self._device.name == "local" else self._device.patience_s

    @contextmanager
    def start(self) -> Iterator[tuple[IO[bytes], IO[bytes], Any]]:
        """(standard input, standard output, end() -> (exit status, what it complained of))."""
        if self._device is None or self._device.name == "local":
            with _here() as process:
                yield process
            return
        self._folder = self._folder or self._device.push({"worker.py": WORKER})
        remote = self._device.start(["/usr/bin/env", "python3", f"{self._folder}/worker.py"])
        try:
            yield remote.stdin, remote.stdout, lambda: (remote.wait(60), remote.errors())
        finally:
            remote.close()


@contextmanager
def _here() -> Iterator[tuple[IO[bytes], IO[bytes], Any]]:
    with tempfile.TemporaryFile() as errors:
        # A session of its own: Ctrl-C reaches edgecls alone, which then ends the worker.
        process = subprocess.Popen([sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=errors, start_new_session=True)
        assert process.stdin and process.stdout

        def end() -> tuple[int, str]:
            status = process.wait()
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _MAX_COMPLAINT))
            return status, errors.read().decode(errors="replace")

        try:
            yield process.stdin, process.stdout, end
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()


def facts(place: Place) -> Facts:
    """The worker's account of its machine: gpu, driver, tensorrt, tensorrt_rtx, each with what is missing of it."""
    return ask(place, {"do": "facts"}, Facts)[0]


def check(network: Network, library: Library) -> list[Unsupported]:
    """Every node that the parser refuses. Raises MissingExtraError without the library."""
    try:
        ask(Place(), {"do": "check", "library": library}, Checked, network.onnx)
    except _ParseError as refused:
        return refused.unsupported
    return []


def build(network: Network, library: Library, *, capability: str | None, tf32: bool = False, cache: bytes = b"",
          place: Place | None = None, progress: Progress = silent) -> tuple[Built, bytes, bytes]:
    """(facts, plan, timing cache). capability: "8.6" ahead of time, None for the GPU of `place`.

    tf32: float32 products may round their factors to 10 bits of mantissa.

    Raises UnsupportedError (nodes), MissingExtraError (library), DeviceError (no GPU), ToolchainError (the builder
    gives no engine, crashes, or runs out of memory).
    """
    request = {"do": "build", "library": library, "compute_capability": capability, "tf32": tf32,
               "profiles": network.profiles}
    built, (plan, timings) = ask(place or Place(), request, Built, network.onnx, cache, progress,
                                 ("plan_bytes", "cache_bytes"))
    return built, plan, timings


def try_plan(plan: bytes, library: Library, place: Place | None = None) -> None:
    """Whether this machine's library takes the plan, found out in a process that may die of it. Raises EdgeclsError."""
    ask(place or Place(), {"do": "load", "library": library}, Loaded, plan)


def ask(place: Place, request: Mapping[str, Any], kind: type[T], model: bytes = b"", cache: bytes = b"",
        progress: Progress = silent, announced: Sequence[str] = ()) -> tuple[T, list[bytes]]:
    """One request, one answer of that kind, and as many bytes as its fields in `announced` say. Raises EdgeclsError."""
    header = msgspec.json.encode({**request, "model_bytes": len(model), "cache_bytes": len(cache)})
    with place.start() as (stdin, stdout, end):
        try:
            for part in (header + b"\n", model, cache):
                stdin.write(part)
            stdin.flush()
        except OSError:
            pass  # it has died, and its exit status says of what
        while line := _next_line(stdout, place):
            answer = _parse(line, Answer, place)
            if answer.progress is not None:
                stage, done, total = answer.progress
                progress(stage, done, total)
            elif answer.error is not None:
                raise explain_error(answer.error, str(request.get("library", "")), place)
            else:
                result = _parse(bytes(answer.result), kind, place)
                return result, [_take(stdout, getattr(result, name), place) for name in announced]
        status, complaint = end()
        raise _died(status, complaint, place)


def _next_line(stdout: IO[bytes], place: Place) -> bytes:
    """b"" at the end. Raises DeviceError for a device that has been silent for longer than its patience_s."""
    if place.patience_s is not None and not ready(stdout, select.POLLIN, place.patience_s):
        raise DeviceError(f"{place.name}: the builder has been silent for {place.patience_s:g} seconds",
                          "check that the device still works, then try again")
    return stdout.readline(_MAX_LINE)


def _parse(data: bytes, kind: type[T], place: Place) -> T:
    try:
        return decode_json(data, kind)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeviceError(f"{place.name}: the builder's process answers in no known way: {error}",
                          "check that its python3 runs plain scripts, then try again") from None


def _take(stdout: IO[bytes], size: int, place: Place) -> bytes:
    """Memory grows with what arrives, not with what is announced."""
    chunks = []
    while size:
        chunk = stdout.read(min(size, 1 << 20))
        if not chunk:
            raise DeviceError(f"{place.name}: the builder's process ended in the middle of its answer", "try again")
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


class _ParseError(UnsupportedError):
    unsupported: list[Unsupported]


def no_gpu(missing: str, place: Place) -> DeviceError:
    """missing: as the worker says it."""
    if "does not start" in missing:
        return DeviceError(f"{place.name}: {missing}",
                           "restart, or install a newer NVIDIA driver, until nvidia-smi lists the GPU")
    return DeviceError(f"{place.name} has no GPU to build for: {missing}",
                       "run this on the device with the GPU, or give it: --on ssh://USER@HOST")


def explain_error(error: Refusal, library: str, place: Place) -> EdgeclsError:
    """One sentence and the next step for each kind of refusal."""
    where, words = place.name, _words(error.details)
    if error.kind == "library":
        chosen: Library = "tensorrt_rtx" if library == "tensorrt_rtx" else "tensorrt"
        return MissingExtraError(f"{LIBRARY_NAMES[chosen]} cannot be loaded on {where}: {error.message}",
                                 INSTALL[chosen])
    name = LIBRARY_NAMES.get(library, "NVIDIA's library")
    if _OLD_DRIVER.search(f"{error.message} {words}"):
        return DeviceError(f"NVIDIA's driver on {where} is too old for the {name} there: {words or error.message}",
                           "install a newer NVIDIA driver (nvidia-smi shows the one that is there), or an older "
                           f"{name}")
    if error.kind == "start":
        return DeviceError(f"{name} does not start on {where}: {words or error.message}",
                           "run `edgecls doctor` there, and check that nvidia-smi lists the GPU")
    if error.kind == "gpu":
        return no_gpu(error.message, place)
    if error.kind == "capability":
        return ToolchainError(error.message, "compile for that GPU without a plan, and build it there: edgecls finish")
    if error.kind == "plan":
        return BundleError(f"{where}: the plan is not taken: {words}",
                           "compile the model again for this GPU and this version of the library")
    if error.kind == "parse":
        refused = _ParseError(f"TensorRT cannot compile this network: {words}",
                              "replace these nodes in the model, or compile with --backend tvm for the target's CPU")
        refused.unsupported = [_unsupported(d) for d in error.details if isinstance(d, Mapping)]
        return refused
    if error.kind == "memory" or any(w in words.lower() for w in ("bad_alloc", "out of memory", "outofmemory")):
        return _out_of_memory(f"the builder ran out of memory on {where}: {words or error.message}")
    return ToolchainError(f"the builder gives no engine: {words or error.message}", _build_hint(words))


def _build_hint(words: str) -> str:
    if "FP32 GEMM is not supported" in words:
        return "TensorRT-RTX has no float32 matrix products for this GPU: compile with --precision fp16"
    return "try another --precision, or keep the layer it names in float32: --keep-fp32 NODE"


def _out_of_memory(message: str) -> ToolchainError:
    return ToolchainError(message, "close other programs, compile fewer batch sizes at once, or build on a machine "
                                   "with more memory")


def _unsupported(detail: Mapping[str, Any]) -> Unsupported:
    reason = str(detail.get("reason") or "").strip()
    said = "" if reason in ("", "false") else f": {reason}"
    return Unsupported(node=str(detail.get("node") or "?"), op=str(detail.get("op") or "?"),
                       reason=f"{detail.get('code') or 'refused'}{said}"[:_SHOWN])


def _words(details: Sequence[Any]) -> str:
    """The library's own text, shortened."""
    texts = []
    for detail in details[:5]:
        if isinstance(detail, Mapping):
            one = _unsupported(detail)
            texts.append(f"{one.node!r} ({one.op}): {one.reason}" if one.node != "?" else one.reason)
        else:
            texts.append(" ".join(str(detail).split()))
    more = f"; and {len(details) - 5} more" if len(details) > 5 else ""
    return "; ".join(texts)[:_SHOWN] + more


def _died(status: int, complaint: str, place: Place) -> EdgeclsError:
    """The process ended without an answer."""
    last = next((line.strip() for line in reversed(complaint.splitlines()) if line.strip()), "")
    if status == -signal.SIGKILL or status == 128 + signal.SIGKILL:
        return _out_of_memory(f"the builder's process on {place.name} was killed, as the system does when memory ends")
    if status < 0:
        name = signal.Signals(-status).name if -status in {s.value for s in signal.Signals} else f"signal {-status}"
        return ToolchainError(f"NVIDIA's library crashed on {place.name} ({name})" + (f": {last}" if last else ""),
                              "install the newest version of it and its driver; `edgecls doctor` shows what is here")
    return ToolchainError(f"the builder's process on {place.name} ended with status {status}: {last[:_SHOWN]}",
                          "check that python3 there is version 3.8 or newer and has TensorRT")
