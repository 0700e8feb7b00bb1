"""Worker processes from the outside: they convert, load, measure when it is their turn, and stand still otherwise."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.evidence import ROOT
from benchmarks.peers.floors import pin

_TIMEOUT_S = 1200.0
_LAST_LINES = 3


class WorkerError(Exception):
    """An engine that does not do what is asked; in one line."""


class Worker:
    """A process that runs `python -m benchmarks.peers.worker`; on `threads` CPUs where the number is given.

    Between requests every process of it is stopped (SIGSTOP): threads that wait by spinning take nothing from others.
    It ends by SIGKILL, so what it leaves behind goes into the folder of `log`, which the caller removes.
    """

    def __init__(self, python: Path, arguments: list[str], log: Path, threads: int | None = None) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [python, "-u", "-m", "benchmarks.peers.worker", *arguments], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, bufsize=0,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(log.parent.absolute())},
                preexec_fn=None if threads is None else lambda: pin(threads))

    def answer(self) -> Any:
        """The next line it says. Raises WorkerError."""
        assert self._process.stdout
        said, deadline = b"", time.monotonic() + _TIMEOUT_S
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise WorkerError(f"no answer within {_TIMEOUT_S:.0f} s")
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise WorkerError(self._last_words())
            said += chunk
        return json.loads(said)

    def measure(self, warmup: int, runs: int) -> list[int]:
        """Nanoseconds of each run. Raises WorkerError."""
        assert self._process.stdin
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps({"warmup": warmup, "runs": runs}).encode() + b"\n")
            times: list[int] = self.answer()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        finally:
            self.stop()
        return times

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def close(self) -> None:
        tree = self._tree()
        for process in tree:
            _send(process, signal.SIGKILL)
        self._process.wait()
        psutil.wait_procs(tree, timeout=10)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()

    def _tree(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _signal(self, number: int) -> None:
        for process in self._tree():
            _send(process, number)

    def _last_words(self) -> str:
        status = self._process.wait()
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return " / ".join([f"ended with {how}", *(lines[-1:] if status >= 0 else lines[-_LAST_LINES:])])[:300]


def convert(python: Path, module: str, onnx: Path, folder: Path, shape: tuple[int, ...]) -> Path:
    """The file of the engine's own format; made once. Raises WorkerError."""
    note = folder / "made"
    if note.is_file():
        return Path(note.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    worker = Worker(python, ["convert", module, str(onnx), str(folder.absolute()), ",".join(map(str, shape))],
                    folder / "log")
    try:
        made = Path(worker.answer())
    finally:
        worker.close()
    note.write_text(str(made))
    return made


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
