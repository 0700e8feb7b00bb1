"""This machine as a device."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edgecls.devices.facts import libc_here, make_facts, read_here
from edgecls.devices.files import check_names, sha256_of
from edgecls.devices.process import PipeProcess
from edgecls.errors import DeviceError, TargetError
from edgecls.interfaces import PATIENCE_S, Process
from edgecls.targets import host_arch, host_features
from edgecls.types import Arch, DeviceFacts, Target

_Device = TypeVar("_Device", bound="LocalDevice")  # Self is not in Python 3.10


def host_lacks(target: Target) -> str | None:
    """Why this machine cannot run code for `target`, in words; None when it can."""
    try:
        arch = host_arch()
    except TargetError as error:
        return error.message
    if arch != target.cpu.arch:
        return f"this machine is {arch}, not {target.cpu.arch}"
    missing = sorted(set(target.cpu.features) - set(host_features()))
    return f"this machine lacks {', '.join(missing)}" if missing else None


class LocalDevice:
    """edgecls.interfaces.Device on this machine: files go to fresh owner-only folders, which close() removes."""

    emulated = False
    patience_s = PATIENCE_S

    def __init__(self, name: str = "local", arch: Arch | None = None) -> None:
        self.name = name
        self.arch: Arch = arch or host_arch()
        self._folders: list[Path] = []

    def facts(self) -> DeviceFacts:
        return make_facts(self.name, os.uname().machine, read_here(), libc_here())

    def push(self, files: Mapping[str, Path]) -> str:
        """Copy `files` (name -> path) into one fresh folder and return it. Raises DeviceError."""
        check_names(files)
        folder = self._fresh_folder()
        try:
            for name, source in files.items():
                self._copy(source, folder / name)
        except OSError as error:
            raise DeviceError(f"{self.name}: {error.filename or 'a file'} cannot be copied to the device: "
                              f"{error.strerror or error}",
                              "check that the file exists, and that TMPDIR has room and is writable") from None
        return str(folder)

    def start(self, argv: Sequence[str]) -> Process:
        return PipeProcess(argv, device=self.name)

    def count_instructions(self, argv: Sequence[str]) -> int | None:
        return None

    def close(self) -> None:
        while self._folders:
            shutil.rmtree(self._folders.pop(), ignore_errors=True)

    def __enter__(self: _Device) -> _Device:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _fresh_folder(self) -> Path:
        try:
            folder = Path(tempfile.mkdtemp(prefix="edgecls-"))
        except OSError as error:
            raise DeviceError(f"{self.name}: no temporary folder can be made: {error.strerror or error}",
                              "set TMPDIR to a writable folder with room") from None
        self._folders.append(folder)
        return folder

    def _copy(self, source: Path, copy: Path) -> None:
        with source.open("rb") as file:
            expected = sha256_of(file)
        shutil.copyfile(source, copy)
        copy.chmod(0o700)
        with copy.open("rb") as file:
            if sha256_of(file) != expected:
                raise DeviceError(f"{self.name}: the copy of {source} differs from it",
                                  "check that nothing writes to the file meanwhile, and the disk")
