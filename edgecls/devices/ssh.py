"""A machine reached by the system's ssh client.

The user's own ssh configuration decides about keys, host keys and jump hosts; nothing is ever asked for (BatchMode).
One master connection is kept while the device is open, and every command shares it. Its standard input is a pipe from
this process, so that it ends with this process however that ends. ssh hands every command to the login shell of the
device: each is one `sh -c` whose script is quoted as a whole.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, TypeVar

from edgecls.devices.facts import FILES, MAX_BYTES, make_facts
from edgecls.devices.files import check_names, sha256_of
from edgecls.devices.process import PipeProcess
from edgecls.errors import DeviceError
from edgecls.interfaces import PATIENCE_S, Process
from edgecls.types import Arch, DeviceFacts

_ADDRESS = re.compile(r"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})@)?"
                      r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])"
                      r"(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_MACHINES: dict[str, Arch] = {"x86_64": "x86_64", "aarch64": "aarch64", "armv7l": "armv7", "armv8l": "armv7"}
_CONNECT_S = 10
_COMMAND_S = 60.0
_SLOWEST_BYTES_PER_S = 50_000
_OPTIONS = ("-T", "-oBatchMode=yes", f"-oConnectTimeout={_CONNECT_S}", "-oServerAliveInterval=10",
            "-oServerAliveCountMax=3", "-oControlPersist=no", "-oLogLevel=ERROR", "-oClearAllForwardings=yes",
            "-oRemoteCommand=none")
_READY = "edgecls-ready"
# Not /tmp: on many boards that is memory, which the network needs.
_MAKE_FOLDER = 'umask 077; d=${TMPDIR:-/var/tmp}; [ -w "$d" ] || d=/tmp; mktemp -d "$d/edgecls-XXXXXXXXXX"'
_FOLDER = re.compile(r"/[A-Za-z0-9_./+-]{1,400}/edgecls-[A-Za-z0-9]{10}", re.ASCII)
# The scripts are single lines: a C shell cannot quote others.
# A program that is still running out of the folder (a lost connection does not stop it) goes first.
_REMOVE_FOLDER = ('for p in /proc/[0-9]*; do case "$(readlink "$p/exe" 2>/dev/null)" in {folder}/*) '
                  'kill -9 "${{p#/proc/}}";; esac; done; rm -rf -- {folder}')
_READ_FACTS = (f'for f in {" ".join(FILES)}; do [ -r "$f" ] || continue; '
               r"printf '\036%s\n' " + f'"$f"; head -c {MAX_BYTES} "$f" 2>/dev/null; done; '
               r"printf '\036libc\n'; getconf GNU_LIBC_VERSION 2>/dev/null; printf '\036machine\n'; uname -m")

_Self = TypeVar("_Self", bound="SshDevice")


class SshAddress(NamedTuple):
    """user, port None: the user's ssh configuration decides."""

    user: str | None
    host: str
    port: int | None

    @classmethod
    def parse(cls, spec: str) -> SshAddress:
        """From "ssh://[user@]host[:port]". Raises DeviceError for anything else: no part can be an option of ssh."""
        match = _ADDRESS.fullmatch(spec)
        port = int(match["port"]) if match and match["port"] else None
        if match is None or (port is not None and not 1 <= port <= 65535):
            raise DeviceError(f"{spec!r} is not the address of a device", "write it as ssh://USER@HOST or "
                              "ssh://USER@HOST:PORT, with a port of 1 to 65535")
        return cls(match["user"], match["host"].strip("[]"), port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"

    def arguments(self) -> list[str]:
        """For the command line of ssh, last before the command."""
        port = ["-p", str(self.port)] if self.port else []
        return [*port, "--", f"{self.user}@{self.host}" if self.user else self.host]


class SshDevice:
    """edgecls.interfaces.Device over ssh."""

    emulated = False
    patience_s = PATIENCE_S

    def __init__(self, address: SshAddress, config: Path | None = None) -> None:
        """Connect. config: a file to use in place of the user's own ssh configuration.

        Raises DeviceError when there is no ssh client, the device does not answer or refuses the key, or its ISA is
        not one that edgecls builds for.
        """
        program = shutil.which("ssh")
        if program is None:
            raise DeviceError("the ssh client is not installed", "run: apt install openssh-client")
        self.name = str(address)
        self._address = address
        self._folders: list[str] = []
        try:  # a socket's path must be short, whatever TMPDIR says
            self._control = tempfile.mkdtemp(prefix="edgecls-", dir="/tmp")
        except OSError as error:
            raise DeviceError(f"/tmp cannot hold the connection's socket: {error.strerror or error}",
                              "make /tmp writable") from None
        self._ssh = [program, *(["-F", str(config)] if config else []), *_OPTIONS, f"-oControlPath={self._control}/s"]
        self._master: PipeProcess | None = None
        try:
            self.arch = self._connect()
        except BaseException:
            self._disconnect()
            raise

    def facts(self) -> DeviceFacts:
        parts = self._run(_READ_FACTS, accept_failure=True).decode(errors="replace").split("\x1e")[1:]
        files = {name: text for name, _, text in (part.partition("\n") for part in parts)}
        return make_facts(self.name, files.pop("machine", "").strip(), files, files.pop("libc", "").strip() or None)

    def push(self, files: Mapping[str, Path]) -> str:
        """Copy `files` (name -> local path) into one fresh owner-only folder on the device and return it.

        Raises DeviceError when the copy is not complete: SHA-256 is computed on the device.
        """
        check_names(files)
        folder = self._run(_MAKE_FOLDER).decode(errors="replace").strip()
        if not _FOLDER.fullmatch(folder):
            raise DeviceError(f"{self.name}: making a folder there gave {folder[:200]!r} instead of its path",
                              "check that the login shell prints nothing by itself")
        self._folders.append(folder)
        for name, source in files.items():
            self._copy(source, f"{folder}/{name}")
        return folder

    def start(self, argv: Sequence[str]) -> Process:
        return PipeProcess(self._command(f"exec {shlex.join(argv)}"), device=self.name, check_exit=self._check_exit)

    def count_instructions(self, argv: Sequence[str]) -> int | None:
        return None

    def close(self) -> None:
        """Remove what was pushed, after a lost connection by a new one if there can be one. Never raises."""
        if self._folders:
            with contextlib.suppress(DeviceError):
                self._run("; ".join(_REMOVE_FOLDER.format(folder=folder) for folder in self._folders))
        self._folders.clear()
        self._disconnect()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _command(self, script: str, master: str = "-oControlMaster=no") -> list[str]:
        """The ssh command line that runs a POSIX shell script there, whatever the login shell."""
        return [*self._ssh, master, *self._address.arguments(), f"exec sh -c {shlex.quote(script)}"]

    def _connect(self) -> Arch:
        """Start the master connection; its session says what the device is and then waits for this process to end."""
        hello = f"echo {_READY} $(uname -m) $(getconf LONG_BIT 2>/dev/null); exec cat"
        master = self._master = PipeProcess(self._command(hello, "-oControlMaster=yes"), device=self.name)
        said, end = b"", time.monotonic() + 3 * _CONNECT_S
        while len(said) < 1 << 16 and (left := end - time.monotonic()) > 0:
            if not select.select([master.stdout], [], [], left)[0]:
                break
            chunk = os.read(master.stdout.fileno(), 4096)
            if not chunk:
                with contextlib.suppress(DeviceError):
                    master.wait(2)  # its reason may come after the end of its output
                break
            said += chunk  # the login shell may greet before
            if match := re.search(rf"^{_READY} (\w+) ?(\w*)\r?$".encode(), said, re.MULTILINE):
                return arch_of(match[1].decode(), match[2].decode(), self.name)
        raise self._unreachable("cannot be reached", master.errors())

    def _copy(self, source: Path, path: str) -> None:
        quoted = shlex.quote(path)
        try:
            with source.open("rb") as file:
                expected = sha256_of(file)
                size = file.tell()
                file.seek(0)
                answer = self._run(f"umask 077; cat > {quoted} && chmod 700 {quoted} && sha256sum {quoted}",
                                   stdin=file, timeout=_COMMAND_S + size / _SLOWEST_BYTES_PER_S)
        except OSError as error:
            raise DeviceError(f"{source}: cannot be read: {error.strerror or error}", "check the file") from None
        if answer[:64].decode(errors="replace") != expected:
            raise DeviceError(f"{self.name}: the copy of {source} at {path} differs from it",
                              "check the storage of the device, and that nothing writes to the file meanwhile")

    def _run(self, script: str, stdin: IO[bytes] | None = None, timeout: float = _COMMAND_S,
             accept_failure: bool = False) -> bytes:
        """What a shell script prints there. Raises DeviceError when it fails or the connection does."""
        try:
            done = subprocess.run(self._command(script), stdin=stdin or subprocess.DEVNULL, capture_output=True,
                                  timeout=timeout, start_new_session=True)
        except subprocess.TimeoutExpired:
            raise self._unreachable(f"did not answer within {timeout:.0f} seconds", "") from None
        errors = done.stderr.decode(errors="replace")
        self._check_exit(done.returncode, errors)
        if done.returncode and not accept_failure:
            raise DeviceError(f"{self.name}: {_last_line(errors) or f'a command failed ({done.returncode})'}",
                              "check the free space and the permissions of /var/tmp on the device")
        return done.stdout

    def _check_exit(self, status: int, errors: str) -> None:
        """ssh itself ends with 255; so does a program that was killed there, but then the connection still stands."""
        if status == 255 and not self._connected():
            raise self._unreachable("the connection was lost", errors)

    def _connected(self) -> bool:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            return subprocess.run([*self._ssh, "-O", "check", *self._address.arguments()], capture_output=True,
                                  stdin=subprocess.DEVNULL, timeout=_CONNECT_S).returncode == 0
        return False

    def _unreachable(self, what: str, errors: str) -> DeviceError:
        said = _last_line(errors)
        return DeviceError(f"{self.name}: {what}{f' ({said})' if said else ''}",
                           "make sure that this works without a question: "
                           f"ssh {shlex.join(self._address.arguments())} true")

    def _disconnect(self) -> None:
        if self._master is not None:
            self._master.close()
        shutil.rmtree(self._control, ignore_errors=True)


def arch_of(machine: str, long_bit: str, device: str) -> Arch:
    """The ISA of a device's programs, from `uname -m` and `getconf LONG_BIT` ("" where there is none).

    A 64-bit kernel may carry a 32-bit system, as Raspberry Pi OS does. Raises DeviceError for an unknown machine.
    """
    if machine not in _MACHINES:
        raise DeviceError(f"{device} is a {machine}, for which edgecls does not build",
                          f"use a device of: {', '.join(_MACHINES)}")
    return "armv7" if (machine, long_bit) == ("aarch64", "32") else _MACHINES[machine]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(c for c in lines[-1] if c.isprintable())[:300] if lines else ""
