"""What crosses between rooms: Backend, Session, Device and Process.

The rooms (frontend, passes, backends, devices, harness, report) never import one another; they meet here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, TypeVar, runtime_checkable

from edgecls.contract import Contract
from edgecls.frozen import Frozen
from edgecls.types import (
    Arch,
    Array,
    Artifact,
    DeviceFacts,
    KernelTime,
    MeasureSettings,
    OptimizedGraph,
    Pixels,
    PrecisionName,
    Samples,
    Target,
    TensorSpec,
    Unsupported,
)

Options = TypeVar("Options", bound=Frozen)

PATIENCE_S = 1800.0
"""Device.patience_s unless told: an inference of a large network takes minutes in emulation."""


class Progress(Protocol):
    """Called by long work: `stage` names it for a person, done of total (total 0: unknown)."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """A Progress that shows nothing."""


class Process(Protocol):
    """A program running on a device. Unbuffered binary pipes; the caller closes it."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def wait(self, timeout: float | None = None) -> int:
        """Exit status. Raises DeviceError when it takes longer than `timeout` seconds."""

    def errors(self) -> str:
        """What it has written to standard error so far (bounded)."""

    def close(self) -> None:
        """Stop it if it still runs and free the pipes. Never raises."""


@runtime_checkable
class Device(Protocol):
    """Where an artifact runs. arch: what programs must be built for. libc: "glibc 2.36", "static" or None.

    emulated: times measured on it mean nothing. patience_s: how many seconds a program there may neither take nor give
    a byte before it counts as hung.
    """

    name: str
    arch: Arch
    emulated: bool
    patience_s: float

    def facts(self) -> DeviceFacts: ...

    def push(self, files: Mapping[str, Path]) -> str:
        """Copy files (name on the device -> local path) into one fresh owner-only folder; its path on the device.

        Checksums are verified. Names are plain file names. `.program` suffix rules do not exist: every file is
        made executable by its owner. Raises DeviceError.
        """

    def start(self, argv: Sequence[str]) -> Process:
        """Run argv[0] (a path on the device) with no shell in between. Raises DeviceError."""

    def count_instructions(self, argv: Sequence[str]) -> int | None:
        """Guest instructions that a whole run of argv executes; None where the device has a real clock."""

    def close(self) -> None:
        """Remove everything that was pushed. Never raises."""

    def __enter__(self) -> Device: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None: ...


@runtime_checkable
class Session(Protocol):
    """One opened artifact, ready to run. Batch sizes as in the manifest."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    contract: Contract
    batches: tuple[int, ...]
    artifact_hash: str
    threads: int
    emulated: bool

    def run(self, feed: Mapping[str, Array | Pixels | Sequence[Pixels]]) -> dict[str, Array]:
        """Outputs by name. An image input takes a tensor, one Pixels, or as many as a batch size.

        Pixels are preprocessed where the network runs, by the contract. Raises EdgeclsError.
        """

    def measure(self, settings: MeasureSettings) -> Samples:
        """settings.warmup untimed runs, then settings.runs timed on the device (or counted under emulation)."""

    def profile(self, runs: int = 10) -> list[KernelTime]:
        """Mean time per call of the plan; [] where the runtime cannot tell, or under emulation."""

    def facts(self) -> DeviceFacts: ...

    def close(self) -> None: ...

    def __enter__(self) -> Session: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None: ...


@runtime_checkable
class Finishing(Protocol):
    """A backend whose bundles are finished on the device they are for."""

    def finish(self, artifact: Artifact, device: Device, output: Path, progress: Progress = silent) -> Artifact:
        """Build there what could not be built ahead of time, and write the whole bundle to `output`.

        Raises BundleError (nothing to finish, another device), DeviceError, MissingExtraError, ToolchainError.
        """


class Backend(Protocol):
    """One way of compiling and running. `options_type` is its frozen CompileOptions (all fields defaulted).

    Field metadata for the CLI: msgspec.Meta(description=...) on each option. precisions: of graphs that it takes.
    """

    name: str
    options_type: type[Frozen]
    precisions: tuple[PrecisionName, ...]

    def check(self, graph: OptimizedGraph, target: Target) -> list[Unsupported]:
        """Nodes that cannot be compiled for `target`; [] when all can. Takes seconds, compiles nothing."""

    def compile(self, graph: OptimizedGraph, target: Target, options: Any, output: Path,
                progress: Progress = silent) -> Artifact:
        """Write a bundle to `output` (beside, then renamed). Raises UnsupportedError, ToolchainError..."""

    def open_session(self, artifact: Artifact, device: Device, threads: int = 1) -> Session:
        """Raises BundleError when the artifact is not for this device, DeviceError when it does not answer."""
