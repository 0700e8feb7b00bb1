"""One C compiler that makes code for one ISA."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edgecls.errors import OutputError, ToolchainError
from edgecls.frozen import Frozen
from edgecls.types import Arch

_TIMEOUT_S = 900.0
# in the words of libc, of the shell for SIGXFSZ, and of zig
_NO_ROOM = re.compile("No space left on device|File too large|Disk quota exceeded|File size limit exceeded|"
                      "NoSpaceLeft|FileTooBig|DiskQuota")


class Toolchain(Frozen):
    """cc: the compiler and the arguments that fix the ABI, e.g. ("arm-linux-gnueabihf-gcc", "-mfpu=neon", ...).

    glibc: version of its C library as "2.36", None when that is another one (musl).
    kind "configured": named by the target file or by EDGECLS_CC_<ARCH>.
    """

    name: str
    arch: Arch
    cc: tuple[str, ...]
    version: str
    glibc: str | None
    kind: Literal["configured", "gcc", "zig"]

    def run(self, args: Sequence[str], cwd: Path | None = None) -> None:
        """Compile or link. Raises ToolchainError with the compiler's first error lines, OutputError on a full disk."""
        run_compiler([*self.cc, *args], cwd)


def run_compiler(argv: Sequence[str], cwd: Path | None = None) -> str:
    """What the compiler prints.

    Raises ToolchainError when it is absent, fails or does not end, OutputError when a disk has no room for its files.
    """
    try:
        done = subprocess.run(list(argv), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=_TIMEOUT_S, env={**os.environ, "LC_ALL": "C"})
    except OSError as error:
        raise ToolchainError(f"the compiler {argv[0]} cannot be started: {error.strerror or error}",
                             "install it, or name another one in EDGECLS_CC_<ARCH>") from None
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"the compiler {argv[0]} did not end within {_TIMEOUT_S:.0f} seconds",
                             f"run it by hand to see why: {shlex.join(argv)}") from None
    if done.returncode == -signal.SIGXFSZ or (done.returncode and _NO_ROOM.search(done.stderr)):
        raise OutputError(f"{cwd or Path.cwd()}: the compiler {argv[0]} has no room for its files",
                          "make room, or set TMPDIR (for zig also ZIG_GLOBAL_CACHE_DIR) to a folder that has room")
    if done.returncode:
        raise ToolchainError(f"the compiler {argv[0]} {_why(done.returncode, done.stderr)}",
                             f"run it by hand to see all it says: {shlex.join(argv)}")
    return done.stdout


def _why(status: int, stderr: str) -> str:
    if status < 0:
        return f"was stopped by signal {-status}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    first = [line for line in lines if "error" in line.lower() or "undefined" in line][:3] or lines[:3]
    return f"failed: {' | '.join(first) or f'exit status {status}'}"
