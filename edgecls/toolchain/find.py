"""Which compiler to use for an ISA.

Order: the configured one (EDGECLS_CC_<ARCH>, then the target file's `cc`), the host's own `cc` for the host's ISA or
Debian's cross gcc for another, then zig from PyPI's `ziglang`.

With one exception. A gcc links against the C library it was packaged with, so a program it makes asks for that
library's symbol versions and does not start on a board with an older one. Zig carries the symbol versions of every
glibc and links against exactly the one a target names. So when gcc's libc is newer than the target's oldest and zig
is installed, zig is chosen; without zig gcc is still returned, because a shared object that uses little of libc often
asks for old versions only: `check_elf` tells from the result.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Literal

from edgecls.errors import TargetError, ToolchainError
from edgecls.targets import host_arch
from edgecls.toolchain.compiler import Toolchain, run_compiler
from edgecls.toolchain.elf import version_key
from edgecls.types import Arch

_TRIPLE: dict[Arch, str] = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu",
                            "armv7": "arm-linux-gnueabihf"}
_DEBIAN: dict[Arch, str] = {"x86_64": "gcc-x86-64-linux-gnu", "aarch64": "gcc-aarch64-linux-gnu",
                            "armv7": "gcc-arm-linux-gnueabihf"}
# What every armv7 target has: VFPv3 with NEON. VFPv4's fused multiply-add is a feature of some.
_GCC_ABI: dict[Arch, tuple[str, ...]] = {"x86_64": (), "aarch64": (),
                                         "armv7": ("-march=armv7-a", "-mfpu=neon", "-mfloat-abi=hard")}
_ZIG_ABI: dict[Arch, tuple[str, ...]] = {"x86_64": (), "aarch64": (), "armv7": ("-mcpu=cortex_a8",)}
_OLDEST_GLIBC = "2.28"  # of all shipped targets; for a caller that names none


def find_toolchain(arch: Arch, *, glibc: str | None = None, configured: tuple[str, ...] | None = None,
                   static: bool = False) -> Toolchain:
    """The compiler for `arch`, chosen as this module's docstring says.

    glibc: the oldest C library the result must load with ("2.28"). configured: Target.cc.
    static: the result is linked with -static (zig then takes musl), so the device's C library does not matter.
    Raises ToolchainError with the lines that install one.
    """
    words = _from_environment(arch) or configured
    if words:
        return _configured(arch, words)
    gcc = _gcc(arch)
    if gcc is not None and (static or glibc is None or gcc.glibc is None
                            or version_key(gcc.glibc) <= version_key(glibc)):
        return gcc
    found = _zig(arch, glibc or _OLDEST_GLIBC, static) or gcc
    if found is None:
        raise ToolchainError(f"there is no C compiler for {arch}",
                             f"run: apt install {_DEBIAN[arch]}, or: pip install ziglang, or set {_variable(arch)}")
    return found


def _variable(arch: Arch) -> str:
    return f"EDGECLS_CC_{arch.upper()}"


def _from_environment(arch: Arch) -> tuple[str, ...] | None:
    try:
        return tuple(shlex.split(os.environ.get(_variable(arch), ""))) or None
    except ValueError as error:
        raise ToolchainError(f"{_variable(arch)} is not a command: {error}",
                             f"write it as a shell would, e.g. {_variable(arch)}='{_TRIPLE[arch]}-gcc -O2'") from None


def _configured(arch: Arch, words: tuple[str, ...]) -> Toolchain:
    macros = _macros(words)
    if not _makes(arch, macros):
        raise ToolchainError(f"the configured compiler '{shlex.join(words)}' does not make {arch} code",
                             f"correct the target's cc, or {_variable(arch)}")
    return _described(Path(words[0]).name, arch, words, macros, "configured")


def _gcc(arch: Arch) -> Toolchain | None:
    names = [f"{_TRIPLE[arch]}-gcc"]
    if _is_host(arch):
        names = ["cc", "gcc", "clang", *names]
    for name in names:
        words = (name, *_GCC_ABI[arch])
        if shutil.which(name) is None:
            continue
        try:
            macros = _macros(words)
        except ToolchainError:
            continue  # a compiler without a C library is no use; the next may do
        if _makes(arch, macros):
            return _described(name, arch, words, macros, "gcc")
    return None


def _zig(arch: Arch, glibc: str, static: bool) -> Toolchain | None:
    """zig is called by its path: `python -m ziglang` would look for the module in the current folder first."""
    spec = importlib.util.find_spec("ziglang")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    program = next((path for folder in folders if (path := Path(folder) / "zig").is_file()), None)
    if program is None:
        return None
    triple = _TRIPLE[arch].replace("gnu", "musl") if static else f"{_TRIPLE[arch]}.{glibc}"
    # zig's own defaults are debug information (which holds paths) and traps on undefined behaviour
    return Toolchain(name="zig cc", arch=arch, version=run_compiler([str(program), "version"]).strip(),
                     cc=(str(program), "cc", "-target", triple, *_ZIG_ABI[arch], "-g0", "-fno-sanitize=undefined"),
                     glibc=None if static else glibc, kind="zig")


def _is_host(arch: Arch) -> bool:
    try:
        return arch == host_arch()
    except TargetError:
        return False


def _macros(words: tuple[str, ...]) -> dict[str, str]:
    """The compiler's predefined macros with those of its C library."""
    text = run_compiler([*words, "-E", "-dM", "-include", "features.h", "-x", "c", "/dev/null"])
    return dict(re.findall(r"^#define (\w+) (.*)$", text, re.MULTILINE))


def _makes(arch: Arch, macros: dict[str, str]) -> bool:
    if arch == "armv7":
        return "__arm__" in macros and "__ARM_PCS_VFP" in macros and macros.get("__ARM_ARCH") in ("7", "8")
    return ("__x86_64__" if arch == "x86_64" else "__aarch64__") in macros


def _described(name: str, arch: Arch, words: tuple[str, ...], macros: dict[str, str],
               kind: Literal["configured", "gcc"]) -> Toolchain:
    glibc = f"{macros['__GLIBC__']}.{macros['__GLIBC_MINOR__']}" if "__GLIBC_MINOR__" in macros else None
    return Toolchain(name=name, arch=arch, cc=words, version=macros.get("__VERSION__", "unknown").strip('"'),
                     glibc=glibc, kind=kind)
