"""A device whose ec_run is a Python function's idea of one: for replies that the real ec_run never sends."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from edgecls.errors import DeviceError
from edgecls.types import Arch, DeviceFacts


class PipeProcess:
    """A Process on this machine."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        self._process = subprocess.Popen(argv, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._errors)
        assert self._process.stdin and self._process.stdout
        self.stdin, self.stdout = self._process.stdin, self._process.stdout

    def wait(self, timeout: float | None = None) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise DeviceError("too slow", "wait longer") from None

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self.stdin, self.stdout, self._errors):
            pipe.close()


class FakeDevice:
    """Runs `script` (a Python file) with the arguments that ec_run would get."""

    name = "fake"
    patience_s = 60.0

    def __init__(self, script: Path, arch: Arch, emulated: bool = False, counts: Sequence[int | None] = ()) -> None:
        self.arch = arch
        self.emulated = emulated
        self.processes: list[PipeProcess] = []
        self.counted: list[list[str]] = []
        self._script = script
        self._counts = list(counts)

    def facts(self) -> DeviceFacts:
        return DeviceFacts(name="fake", machine="fake", emulated=self.emulated, cpu_model="known", load=0.25)

    def push(self, files: Mapping[str, Path]) -> str:
        assert sorted(files) == ["bundle.ecls", "ec_run"] and all(path.is_file() for path in files.values())
        return "/pushed"

    def start(self, argv: Sequence[str]) -> PipeProcess:
        assert argv[0] == "/pushed/ec_run"
        self.processes.append(PipeProcess([sys.executable, "-I", str(self._script), *argv[1:]]))
        return self.processes[-1]

    def count_instructions(self, argv: Sequence[str]) -> int | None:
        self.counted.append(list(argv))
        return self._counts.pop(0)

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeDevice:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
