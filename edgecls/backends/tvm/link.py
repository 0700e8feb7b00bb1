"""Step 7c: object + generated C -> model.so, checked for what it needs and what it shows."""

from __future__ import annotations

from pathlib import Path

from edgecls.backends.tvm.glue import ModelParts, emit_model
from edgecls.errors import InternalError
from edgecls.runtime.build import C_FOLDER
from edgecls.toolchain import Toolchain, check_elf
from edgecls.types import Target

_CFLAGS = ("-std=c11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-ffile-prefix-map=.=.")
_NEEDED = {"libc.so.6", "libm.so.6"}


def link_shared(parts: ModelParts, toolchain: Toolchain, target: Target, folder: Path) -> bytes:
    """model.so: position independent, needs libc and libm alone, exports the descriptor alone.

    Raises ToolchainError when the compiler fails or the result asks for a newer glibc than the target has.
    """
    (folder / "model.c").write_text(emit_model(parts))
    (folder / "exports.map").write_text(f"{{ global: {parts.symbol}; local: *; }};\n")
    toolchain.run([*_CFLAGS, "-shared", "-I", str(C_FOLDER / "include"), "model.c", parts.kernels.path.name,
                   "-Wl,--version-script=exports.map", "-Wl,-z,relro,-z,now,-z,noexecstack", "-Wl,--gc-sections",
                   "-Wl,-soname,model.so", "-Wl,--build-id=none", "-s", "-lm", "-o", "model.so"], cwd=folder)
    path = folder / "model.so"
    check_elf(path, max_glibc=target.os.glibc, allowed_needed=_NEEDED)
    exported = _exported(path)
    if exported != {parts.symbol}:
        raise InternalError(f"model.so exports {sorted(exported)} instead of {parts.symbol}",
                            "report this with the compiler's version")
    return path.read_bytes()


def link_static(parts: ModelParts, toolchain: Toolchain, folder: Path) -> bytes:
    """model.o: relocatable, for linking with libedgecls and other models; weights are embedded by that program."""
    toolchain.run([*_CFLAGS, "-DEC_EMBED_WEIGHTS", "-c", "-I", str(C_FOLDER / "include"), "model.c", "-o",
                   "glue.o"], cwd=folder)
    toolchain.run(["-nostdlib", "-r", "glue.o", parts.kernels.path.name, "-o", "model.o"], cwd=folder)
    return (folder / "model.o").read_bytes()


def _exported(path: Path) -> set[str]:
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        return {s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s["st_info"]["bind"] != "STB_LOCAL"}
