"""A Session on libedgecls: the bundle and ec_run go to a device, one process there answers every request."""

from __future__ import annotations

import re
import select
import struct
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from edgecls.errors import BundleError, DataError, DeviceError
from edgecls.frozen import Frozen
from edgecls.interfaces import Device
from edgecls.runtime.build import build_runner
from edgecls.runtime.feed import (
    Feed,
    as_array,
    at_batch,
    check_spec,
    image_parts,
    images_of,
    read_tensors,
    spec_bytes,
    tensor_bytes,
)
from edgecls.runtime.status import complaint, printable, tail
from edgecls.runtime.wire import Request, Wire, hung, ready
from edgecls.toolchain import find_toolchain
from edgecls.types import Array, Artifact, DeviceFacts, KernelTime, MeasureSettings, Pixels, Samples, TensorSpec

MAX_THREADS = 256
_MAX_PATH = 4096
_MAX_BATCH = 65536  # of ec_run as well
_PROFILE_ENTRY = struct.Struct("<IIQ")


class _Plan(Frozen):
    batch: int
    arena_bytes: int
    workspace_bytes: int
    calls: int


class _Description(Frozen):
    """Reply to DESCRIBE. Shapes are those of the smallest plan."""

    protocol: int
    version: str
    build_id: str
    name: str
    arch: str
    threads: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    plans: tuple[_Plan, ...]


class _ReportedFacts(Frozen):
    """Reply to FACTS: keys of DeviceFacts, None where the program on the device cannot read one."""

    name: str | None = None
    machine: str | None = None
    emulated: bool | None = None
    cpu_model: str | None = None
    cores: int | None = None
    kernel: str | None = None
    os: str | None = None
    libc: str | None = None
    governor: str | None = None
    clocks_mhz: tuple[float, ...] | None = None
    temperature_c: float | None = None
    load: float | None = None
    memory_total_mb: int | None = None
    memory_free_mb: int | None = None
    emulator: str | None = None


def open_serve_session(artifact: Artifact, device: Device, threads: int = 1) -> ServeSession:
    """Push, verify and open `artifact` on `device`, to be run by `threads` threads (1..256).

    Raises BundleError when the artifact is not for this device, ToolchainError when ec_run cannot be built for it,
    DeviceError when it does not answer as it must.
    """
    _check_artifact(artifact, device)
    if not 1 <= threads <= MAX_THREADS:
        raise DeviceError(f"{threads} threads are not possible", f"choose 1 to {MAX_THREADS} threads")
    glibc = _glibc(device.facts()) or artifact.manifest.target.os.glibc
    runner = build_runner(device.arch, find_toolchain(device.arch, glibc=glibc))
    home = device.push({"ec_run": runner, "bundle.ecls": artifact.path})
    program = f"{home}/ec_run"
    folder = _install(device, program, f"{home}/bundle.ecls", home)  # verifies every byte: --trust from here on
    wire = Wire(device.start([program, folder, "--serve", "--trust", "--threads", str(threads)]), device.name,
                device.patience_s)
    try:
        calls = _check_description(wire, artifact, threads)
    except BaseException:
        wire.close()
        raise
    return ServeSession(artifact, device, threads, wire, [program, folder], calls)


class ServeSession:
    """See edgecls.interfaces.Session. Made by open_serve_session."""

    def __init__(self, artifact: Artifact, device: Device, threads: int, wire: Wire, argv: Sequence[str],
                 calls: Mapping[int, int]) -> None:
        """argv: how ec_run is started on the installed bundle; calls: batch -> calls of its plan."""
        manifest = artifact.manifest
        self.inputs = manifest.inputs
        self.outputs = manifest.outputs
        self.contract = manifest.contract
        self.batches = manifest.batches
        self.artifact_hash = artifact.hash
        self.threads = threads
        self.emulated = device.emulated
        self._layers = manifest.layers
        self._device = device
        self._wire = wire
        self._argv = [*argv, "--trust"]
        self._calls = dict(calls)

    def run(self, feed: Mapping[str, Feed]) -> dict[str, Array]:
        """Outputs by name, each of its TensorSpec's dtype and shape at the batch of `feed`.

        Raises DataError for a feed that is not what the network takes, DeviceError when the device fails.
        """
        self._check_names(feed)
        images = {name: found for name, value in feed.items() if (found := images_of(value)) is not None}
        if images:
            self._check_image_network()
            pixels = images[self.inputs[0].name]
            return self._run(Request.RUN_IMAGES, len(pixels), [part for image in pixels for part in image_parts(image)])
        tensors = {name: as_array(name, value) for name, value in feed.items()}
        batch = self._batch_of(tensors)
        specs = self._at(self.inputs, batch)
        return self._run(Request.RUN, batch, [tensor_bytes(tensors[spec.name], spec) for spec in specs])

    def preprocess(self, image: Pixels) -> Array:
        """The tensor, at batch 1, that the device itself makes of one image by the contract."""
        self._check_image_network()
        one = at_batch(self.inputs[0], 1, min(self.batches))
        reply = self._wire.request(Request.PREPROCESS, image_parts(image), length=spec_bytes(one))
        return read_tensors(reply, [one])[one.name]

    def measure(self, settings: MeasureSettings) -> Samples:
        """Nanoseconds of each run, timed by ec_run itself; on an emulated device executed instructions per inference.

        Input: the last one that `run` was given at this batch size, else the golden one.
        """
        batch = self._known_batch(settings.batch)
        if self.emulated:
            if self.threads > 1:  # how often waiting threads look around is the emulator's doing, not the network's
                raise DeviceError(f"instructions are counted for one thread, not for {self.threads}",
                                  "leave out --threads, or measure time on a real device: --on ssh://USER@HOST")
            return Samples(kind="instructions", values=(self._count_instructions(batch),))
        if not 0 <= settings.warmup <= 1_000_000 or not 1 <= settings.runs <= 1_000_000:
            raise DataError(f"{settings.warmup} warm-up runs and {settings.runs} runs are not a measurement",
                            "choose 1 to 1000000 runs")
        reply = self._wire.request(Request.MEASURE, [struct.pack("<III", batch, settings.warmup, settings.runs)],
                                   length=8 * settings.runs)
        return Samples(kind="time_ns", values=tuple(np.frombuffer(reply, "<u8").tolist()))

    def profile(self, runs: int = 10) -> list[KernelTime]:
        """Mean time of every call of the smallest plan, in order; [] under emulation, where a time means nothing."""
        if self.emulated:
            return []
        if not 1 <= runs <= 1_000_000:
            raise DataError(f"a profile over {runs} runs is not possible", "choose 1 to 1000000 runs")
        batch = min(self.batches)
        reply = self._wire.request(Request.PROFILE, [struct.pack("<II", batch, runs)],
                                   length=_PROFILE_ENTRY.size * self._calls[batch])
        times = []
        for layer, _kernel, total in _PROFILE_ENTRY.iter_unpack(reply):
            if layer >= len(self._layers):
                raise self._wire.fault(f"it timed layer {layer}, the bundle has {len(self._layers)}")
            times.append(KernelTime(layer=layer, kernel=self._layers[layer].kernel, mean_ns=total / runs, runs=runs))
        return times

    def selftest(self, batch: int | None = None) -> float:
        """Largest difference to the golden output, relative to its range, at `batch` (default: the smallest)."""
        chosen = self._known_batch(min(self.batches) if batch is None else batch)
        reply = self._wire.request(Request.SELFTEST, [struct.pack("<I", chosen)], length=8)
        return float(struct.unpack("<d", reply)[0])

    def facts(self) -> DeviceFacts:
        """What the transport knows of the device, completed by what ec_run reads there.

        Under emulation ec_run reads its host's /proc and /sys, so nothing of the host's is taken for the board's.
        """
        known = self._device.facts()
        said = self._wire.request_json(Request.FACTS, _ReportedFacts)
        if self.emulated:
            return DeviceFacts(name=known.name, machine=known.machine, emulated=True, os=known.os,
                               libc=known.libc or printable(said.libc or "") or None, emulator=known.emulator)
        merged: dict[str, Any] = {}
        for key in _ReportedFacts.__struct_fields__:
            here, there = getattr(known, key), getattr(said, key)
            fixed = key in ("name", "machine", "emulated", "emulator") or there is None
            merged[key] = here if fixed else printable(there) if isinstance(there, str) else there
        return msgspec.structs.replace(known, **merged)

    def close(self) -> None:
        """End the process on the device. What was pushed goes when the device is closed."""
        self._wire.close()

    def __enter__(self) -> ServeSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _run(self, kind: Request, batch: int, payload: Sequence[bytes | memoryview]) -> dict[str, Array]:
        specs = self._at(self.outputs, self._known_batch(batch))
        reply = self._wire.request(kind, [struct.pack("<I", batch), *payload], length=sum(map(spec_bytes, specs)))
        return read_tensors(reply, specs)

    def _at(self, specs: Sequence[TensorSpec], batch: int) -> list[TensorSpec]:
        return [at_batch(spec, batch, min(self.batches)) for spec in specs]

    def _check_names(self, feed: Mapping[str, Feed]) -> None:
        names = [spec.name for spec in self.inputs]
        if set(feed) != set(names):
            raise DataError(f"inputs {sorted(feed)} were given, the network takes {names}", "give exactly its inputs")

    def _check_image_network(self) -> None:
        if self.contract.image_input.name != self.inputs[0].name or len(self.inputs) != 1:
            raise DataError(f"the device prepares images for networks with one input, this one has {len(self.inputs)}",
                            "give tensors: edgecls.preprocess makes them")

    def _known_batch(self, batch: int) -> int:
        if batch not in self._calls:
            raise DataError(f"batch {batch} is not one of {list(self.batches)} that the bundle was compiled for",
                            f"use one of them, or compile with --batch {batch}")
        return batch

    def _batch_of(self, tensors: Mapping[str, Array]) -> int:
        """The batch size whose input shapes the tensors have; the smallest when none fits, so that errors name it."""
        def fits(batch: int) -> bool:
            return all(tensors[spec.name].shape == spec.shape for spec in self._at(self.inputs, batch))
        return next(filter(fits, self.batches), min(self.batches))

    def _count_instructions(self, batch: int) -> int:
        """Five runs minus one, over four: what starting and loading costs falls out."""
        counts = []
        for runs in (5, 1):
            argv = [*self._argv, "--batch", str(batch), "--runs", str(runs)]
            count = self._device.count_instructions(argv)
            if count is None:
                raise DeviceError(f"{self._device.name} is emulated but cannot count instructions",
                                  "install qemu-user with plugin support; `edgecls doctor` checks it")
            counts.append(count)
        if counts[0] <= counts[1]:
            raise DeviceError(f"{self._device.name} counted {counts[0]} instructions in five runs, {counts[1]} in one",
                              "check the emulator with `edgecls doctor`")
        return (counts[0] - counts[1]) // 4


def _check_artifact(artifact: Artifact, device: Device) -> None:
    manifest = artifact.manifest
    if manifest.runtime != "edgecls":
        raise BundleError(f"{artifact.path}: is for the runtime {manifest.runtime}, not for libedgecls",
                          "open it with the backend that compiled it")
    if manifest.target.cpu.arch != device.arch:
        raise BundleError(f"{artifact.path}: is for {manifest.target.cpu.arch}, but {device.name} runs {device.arch}",
                          "compile it for a target of that device, or choose another device with --on")
    if max(manifest.batches) > _MAX_BATCH:
        raise BundleError(f"{artifact.path}: a batch size of {max(manifest.batches)} is not possible",
                          f"compile the model again with batch sizes of 1 to {_MAX_BATCH}")
    if [plan.batch for plan in manifest.plans] != list(manifest.batches):
        raise BundleError(f"{artifact.path}: its plans are not those of its batch sizes {list(manifest.batches)}",
                          "compile the model again with this version of edgecls")
    for spec in (*manifest.inputs, *manifest.outputs):
        check_spec(spec)
        check_spec(at_batch(spec, max(manifest.batches), min(manifest.batches)))


def _check_description(wire: Wire, artifact: Artifact, threads: int) -> dict[int, int]:
    """The process must have opened exactly this artifact. Returns batch -> calls of its plan.

    Raises BundleError for a manifest that says other things of its plans than the model itself.
    """
    manifest = artifact.manifest
    said = wire.request_json(Request.DESCRIBE, _Description)
    for what, got, expected in (
        ("model", f"ec_model_{said.build_id}", manifest.symbol),
        ("architecture", said.arch, manifest.target.cpu.arch),
        ("thread count", said.threads, threads),
        ("inputs", said.inputs, manifest.inputs),
        ("outputs", said.outputs, manifest.outputs),
        ("batch sizes", tuple(plan.batch for plan in said.plans), manifest.batches),
    ):
        if got != expected:
            raise wire.fault(f"it opened another {what} than the bundle's: {got} instead of {expected}")
    for plan, fact in zip(said.plans, manifest.plans, strict=True):
        there = (plan.batch, plan.calls, plan.arena_bytes, plan.workspace_bytes)
        here = (fact.batch, fact.calls, fact.arena_bytes, fact.workspace_bytes_per_thread)
        if there != here:
            raise BundleError(f"{artifact.path}: its manifest says {_memory(*here)}, its model {_memory(*there)}",
                              "compile the model again with this version of edgecls")
    return {plan.batch: plan.calls for plan in said.plans}


def _memory(batch: int, calls: int, arena: int, workspace: int) -> str:
    return f"batch {batch}: {calls} calls, {arena} bytes of arena, {workspace} of workspace"


def _install(device: Device, program: str, bundle: str, home: str) -> str:
    """Let the device verify and unpack the bundle; the folder it names. Raises BundleError, DeviceError."""
    process = device.start([program, "--install", bundle, home])
    try:
        said = bytearray()
        while len(said) <= _MAX_PATH:
            if not ready(process.stdout, select.POLLIN, device.patience_s):
                raise DeviceError(*hung(device.name, device.patience_s))
            chunk = process.stdout.read(_MAX_PATH)
            if not chunk:
                break
            said += chunk
        # one that talks on is not waited for: it may be stuck on the full pipe
        status = process.wait(timeout=600) if len(said) <= _MAX_PATH else 0
        if status != 0:
            raise complaint(process.errors(), device.name) or DeviceError(
                f"{device.name}: ec_run --install ended with status {status}: {tail(process.errors())}",
                "check that the device runs programs from that folder and has room")
    except OSError as error:
        raise DeviceError(f"{device.name}: reading its answer failed: {error.strerror or error}",
                          "check the connection and try again") from None
    finally:
        process.close()
    folder = said.decode(errors="replace").removesuffix("\n")
    sound = len(said) <= _MAX_PATH and folder.isprintable() and "\ufffd" not in folder
    if not sound or not folder.startswith(f"{home}/"):
        raise DeviceError(f"{device.name}: ec_run --install answered {printable(folder[:200])!r}, not a folder",
                          "check that nothing on the device prints before programs start")
    return folder


def _glibc(facts: DeviceFacts) -> str | None:
    match = re.search(r"\bglibc (\d+\.\d+)", facts.libc or "")
    return match[1] if match else None
