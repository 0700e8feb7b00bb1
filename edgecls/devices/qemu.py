"""An emulated CPU: qemu's user mode on this machine. It runs programs and counts instructions; it has no clock."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from edgecls.devices.local import LocalDevice
from edgecls.devices.process import PipeProcess
from edgecls.errors import DeviceError, ToolchainError
from edgecls.interfaces import Process
from edgecls.targets import host_arch
from edgecls.toolchain import elf_arch, elf_interpreter, find_toolchain
from edgecls.types import Arch, DeviceFacts, Target

_PROGRAM: dict[Arch, str] = {"x86_64": "qemu-x86_64", "aarch64": "qemu-aarch64", "armv7": "qemu-arm"}
# Where Debian's cross C libraries lie, and the packages they come in.
_SYSROOT: dict[Arch, tuple[str, str]] = {
    "x86_64": ("/usr/x86_64-linux-gnu", "libc6-amd64-cross"),
    "aarch64": ("/usr/aarch64-linux-gnu", "libc6-arm64-cross"),
    "armv7": ("/usr/arm-linux-gnueabihf", "libc6-armhf-cross"),
}
_PLUGIN_SOURCE = Path(__file__).with_name("qemu_plugin.c")
_COUNT_TIMEOUT_S = 4 * 3600.0
_NO_PLUGINS = "run it without counting; if qemu says that plugins are disabled: apt install qemu-user"


class Block(NamedTuple):
    """A run of instructions with one entry, and how often it was entered. code: their disassembly.

    file, offset: where the code was loaded from; "" and 0 for code that is in no file. part: of the run, in which it
    was entered; a block that is entered in several parts is listed for each.
    """

    file: str
    offset: int
    code: tuple[str, ...]
    executed: int
    part: int = 0


class QemuDevice(LocalDevice):
    """edgecls.interfaces.Device for a target's ISA, with the CPU model Target.qemu_cpu.

    The C library is the one in `sysroot`: by default QEMU_LD_PREFIX (qemu's own variable) or Debian's cross library;
    static programs need none. Programs see no environment but `environment`, and fixed random bytes, so that counts are
    repeatable.
    """

    emulated = True

    def __init__(self, target: Target, sysroot: Path | None = None,
                 environment: Mapping[str, str] | None = None) -> None:
        """Raises DeviceError when qemu is not installed or does not know the CPU."""
        arch = target.cpu.arch
        if target.qemu_cpu is None:
            raise DeviceError(f"no emulated CPU is known for target {target.name}",
                              "run on a real machine: --on local or --on ssh://USER@HOST; "
                              "or set qemu_cpu in a target file of your own")
        program = shutil.which(_PROGRAM[arch]) or shutil.which(f"{_PROGRAM[arch]}-static")
        if program is None:
            raise DeviceError(f"{_PROGRAM[arch]} is not installed, and target {target.name} needs it on this machine",
                              "run: apt install qemu-user")
        super().__init__(f"qemu:{target.qemu_cpu}", arch)
        self._cpu, self._program = target.qemu_cpu, program
        self._sysroot = sysroot or Path(os.environ.get("QEMU_LD_PREFIX") or _SYSROOT[arch][0])
        self._environment = dict(environment or {})
        self._plugin: Path | None = None
        self._version = _ask(program, "--version").partition("\n")[0].strip()
        if not re.search(rf"(?<![\w.-]){re.escape(self._cpu)}(?![\w.-])", _ask(program, "-cpu", "help")):
            raise DeviceError(f"{self._version or program} has no CPU '{self._cpu}'",
                              f"list those it has: {program} -cpu help; then set qemu_cpu in a target file of your own")

    def facts(self) -> DeviceFacts:
        """Nothing of this machine: its clocks and temperature say nothing about the board."""
        return DeviceFacts(name=self.name, machine=self.arch, emulated=True, emulator=self._version)

    def start(self, argv: Sequence[str]) -> Process:
        self._check_program(argv)
        return PipeProcess([*self._command(), *argv], device=self.name, env=self._environment)

    def count_instructions(self, argv: Sequence[str]) -> int:
        """Guest instructions of all threads in a whole run of argv, its start-up included.

        Raises DeviceError when the program fails, ToolchainError when there is no compiler for the counter.
        """
        with tempfile.TemporaryFile() as report:
            self._run_counted(argv, report)
            count = report.read(64).strip()
        if not count.isdigit():
            raise DeviceError(f"{self.name}: the instructions of {argv[0]} were not counted", _NO_PLUGINS)
        return int(count)

    def executed_blocks(self, argv: Sequence[str], library: str = "", starts: Sequence[int] = ()) -> list[Block]:
        """All code that a whole run of argv executes. Raises as count_instructions does.

        Part n of the run begins whenever the program enters starts[n - 1], an offset in the file `library`.
        """
        options = [",blocks=on"]
        if starts:
            options += [f"library={library.replace(',', ',,')}", f"starts={':'.join(map(str, starts))}"]
        with tempfile.TemporaryFile() as report:
            self._run_counted(argv, report, ",".join(options))
            found = parse_blocks(line.decode(errors="replace") for line in report)
        if not found:
            raise DeviceError(f"{self.name}: the code of {argv[0]} was not recorded", _NO_PLUGINS)
        return found

    def _run_counted(self, argv: Sequence[str], report: IO[bytes], options: str = "") -> None:
        self._check_program(argv)
        plugin = self._plugin = self._plugin or self._build_plugin()
        option = f"{str(plugin).replace(',', ',,')},fd={report.fileno()}{options}"
        try:
            done = subprocess.run([*self._command(), "-plugin", option, *argv], env=self._environment,
                                  pass_fds=(report.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, timeout=_COUNT_TIMEOUT_S, start_new_session=True)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(f"{self.name}: {argv[0]} could not be run to count instructions: {error}",
                              "run the same command without counting to see what it does") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise DeviceError(f"{self.name}: {argv[0]} ended with status {done.returncode} while its instructions were "
                              f"counted{': ' + said[-1] if said else ''}", _NO_PLUGINS)
        report.seek(0)

    def _command(self) -> list[str]:
        sysroot = ["-L", str(self._sysroot)] if self._sysroot.is_dir() else []
        return [self._program, "-cpu", self._cpu, "-seed", "1", *sysroot]

    def _check_program(self, argv: Sequence[str]) -> None:
        """qemu's own words for these mistakes name neither the cause nor the remedy."""
        program = Path(argv[0])
        try:
            arch, loader = elf_arch(program), elf_interpreter(program)
        except ToolchainError as error:
            raise DeviceError(f"{self.name}: {error.message}", "give a program built for the target") from None
        if arch != self.arch:
            raise DeviceError(f"{self.name}: {program.name} is a program for {arch or 'another ISA'}, not {self.arch}",
                              "build it for the target")
        if loader and not (self._sysroot / loader.lstrip("/")).exists() and not Path(loader).exists():
            raise DeviceError(f"{self.name}: {program.name} needs {loader}, which is not in {self._sysroot}",
                              f"run: apt install {_SYSROOT[self.arch][1]}, or set QEMU_LD_PREFIX to a root file system")

    def _build_plugin(self) -> Path:
        major = re.search(r"version (\d+)", self._version)
        plugin = self._fresh_folder() / "count.so"
        find_toolchain(host_arch()).run(
            ["-O2", "-shared", "-fPIC", f"-DEC_PLUGIN_VERSION={2 if major and int(major[1]) >= 9 else 1}",
             str(_PLUGIN_SOURCE), "-o", str(plugin)])
        return plugin


def parse_blocks(report: Iterable[str]) -> list[Block]:
    """What qemu_plugin.c writes with blocks=on. A block that was translated twice is two blocks here."""
    places: dict[str, tuple[str, int]] = {}
    code: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    found = []
    lines: list[str] = []
    for line in report:
        if line[0] == "\t":
            text = line.strip()
            lines.append(texts.setdefault(text, text))
            continue
        kind, number, *rest = line.rstrip("\n").split(" ", 3)
        if kind == "block":
            places[number] = (rest[1], int(rest[0])) if rest else ("", 0)
            lines = code[number] = []
        else:
            part, times = map(int, rest)
            found.append(Block(*places[number], tuple(code[number]), times, part))
    return found


def _ask(program: str, *args: str) -> str:
    try:
        return subprocess.run([program, *args], capture_output=True, text=True, errors="replace", timeout=60,
                              stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"{program} cannot be run: {error}", "run: apt install --reinstall qemu-user") from None
