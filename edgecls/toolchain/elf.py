"""What an ELF file needs: its ISA, its loader, its libraries and the oldest glibc that serves it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from elftools.elf.elffile import ELFFile

from edgecls.errors import ToolchainError
from edgecls.types import Arch

_ARCH: dict[tuple[str, int], Arch] = {("EM_X86_64", 64): "x86_64", ("EM_AARCH64", 64): "aarch64",
                                      ("EM_ARM", 32): "armv7"}
_MAX_VERSIONS = 4096


def elf_arch(path: Path) -> Arch | None:
    """The ISA of an ELF file, None for one edgecls has no name for. Raises ToolchainError when it is no ELF file."""
    with _open(path) as elf:
        return _ARCH.get((elf["e_machine"], elf.elfclass))


def elf_interpreter(path: Path) -> str | None:
    """The loader a program asks for, e.g. "/lib/ld-linux-aarch64.so.1"; None for static programs and shared objects.

    Raises ToolchainError when it is no ELF file.
    """
    with _open(path) as elf:
        return next((str(s.get_interp_name()) for s in elf.iter_segments() if s["p_type"] == "PT_INTERP"), None)


def required_glibc(path: Path) -> str | None:
    """The oldest glibc with every symbol version the file asks for ("2.17"), None when it asks for none.

    Raises ToolchainError when it is no ELF file.
    """
    versions = [version for _, name in _versions(path) if (version := _glibc_version(name)) is not None]
    return max(versions, key=version_key, default=None)


def check_elf(path: Path, *, max_glibc: str, allowed_needed: Collection[str]) -> None:
    """Refuse a file that will not load where glibc is `max_glibc` and only `allowed_needed` libraries exist.

    The loader (ld-linux*) may be named in any case: without it nothing loads.
    Raises ToolchainError naming the library, or the symbol version that is too new.
    """
    with _open(path) as elf:
        dynamic = elf.get_section_by_name(".dynamic")
        needed = [str(tag.needed) for tag in dynamic.iter_tags("DT_NEEDED")] if dynamic else []
    extra = [name for name in needed if name not in allowed_needed and not name.startswith("ld-linux")]
    if extra:
        raise ToolchainError(f"{path.name} needs {', '.join(extra)}, which the target is not known to have",
                             f"link only with {', '.join(sorted(allowed_needed)) or 'nothing'}")
    for library, name in _versions(path):
        version = _glibc_version(name)
        if version is not None and version_key(version) > version_key(max_glibc):
            raise ToolchainError(f"{path.name} needs {name} of {library}, but the target's glibc may be {max_glibc}",
                                 "run: pip install ziglang (it links against exactly the target's glibc), "
                                 "or raise os.glibc in a target file of your own")


def version_key(version: str) -> tuple[int, ...]:
    """Sorts "2.9" before "2.28"."""
    return tuple(int(part) for part in version.split("."))


def _glibc_version(name: str) -> str | None:
    if name == "GLIBC_ABI_DT_RELR":  # packed relocations: read by the loader since then
        return "2.36"
    match = re.fullmatch(r"GLIBC_(\d+(?:\.\d+)+)", name, re.ASCII)
    return match[1] if match else None


def _versions(path: Path) -> list[tuple[str, str]]:
    """(library, symbol version) pairs the file asks for."""
    with _open(path) as elf:
        section = elf.get_section_by_name(".gnu.version_r")
        if section is None:
            return []
        # a damaged count would be believed and the last entry read over and over
        return list(islice(((str(library.name), str(version.name)) for library, versions in section.iter_versions()
                            for version in versions), _MAX_VERSIONS))


@contextmanager
def _open(path: Path) -> Iterator[ELFFile]:
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if elf.num_sections() == 0:
                raise ValueError("without section headers nothing would be found, and all would seem well")
            yield elf
    except OSError as error:
        raise ToolchainError(f"{path}: cannot be read: {error.strerror or error}", "check the path") from None
    except Exception as error:  # the parser raises many kinds on a damaged file
        raise ToolchainError(f"{path}: is not a sound ELF file", "build it again") from error
