"""Step 7c: object + generated C -> model.so, checked for what it needs and what it shows."""

from __future__ import annotations

from pathlib import Path

from edgecls.backends.tvm.glue import ModelParts, emit_model
from edgecls.backends.tvm.scratch import scratch_errors
from edgecls.errors import InternalError
from edgecls.runtime.build import C_FOLDER
from edgecls.toolchain import Toolchain, check_elf
from edgecls.types import Target

_CFLAGS = ("-std=c11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-ffile-prefix-map=.=.")
_NEEDED = {"libc.so.6", "libm.so.6"}
# gcc's own helpers may not drag in libgcc_s.so.1; clang and zig have no such library and say so
_LIBGCC = ("-static-libgcc", "-Wno-unused-command-line-argument")
_ARMV7_HELPERS = Path(__file__).with_name("c") / "armv7_helpers.c"
# what that file defines, each to be called in place of the compiler's own, which differs or is absent
_ARMV7_WRAPPED = (
    "__floatdisf", "__floatundisf", "__floatdidf", "__floatundidf", "__fixsfdi", "__fixunssfdi", "__fixdfdi",
    "__fixunsdfdi", "__divsi3", "__modsi3", "__udivsi3", "__umodsi3", "__divdi3", "__moddi3", "__udivdi3", "__umoddi3",
    "__muldi3", "__ashldi3", "__ashrdi3", "__lshrdi3")


def link_shared(parts: ModelParts, toolchain: Toolchain, target: Target, folder: Path) -> bytes:
    """model.so: position independent, needs libc and libm alone, exports the descriptor alone.

    Raises ToolchainError when the compiler fails, a symbol is defined nowhere, or the result asks for a newer glibc
    than the target has; OutputError when `folder` has no room.
    """
    path = folder / "model.so"
    with scratch_errors(folder):
        (folder / "model.c").write_text(emit_model(parts))
        (folder / "exports.map").write_text(f"{{ global: {parts.symbol}; local: *; }};\n")
        toolchain.run([*_CFLAGS, "-shared", "-I", str(C_FOLDER / "include"), "model.c", parts.kernels.path.name,
                       *_helpers(toolchain, folder), "-Wl,--version-script=exports.map", "-Wl,--gc-sections",
                       "-Wl,-z,defs,-z,relro,-z,now,-z,noexecstack", "-Wl,-soname,model.so", "-Wl,--build-id=none",
                       "-s", "-lm", *_LIBGCC, "-o", path.name], cwd=folder)
        check_elf(path, max_glibc=target.os.glibc, allowed_needed=_NEEDED)
        exported = _exported(path)
        if exported != {parts.symbol}:
            raise InternalError(f"model.so exports {sorted(exported)} instead of {parts.symbol}",
                                "report this with the compiler's version")
        return path.read_bytes()


def link_static(parts: ModelParts, toolchain: Toolchain, folder: Path) -> bytes:
    """model.o: relocatable, for linking with libedgecls and other models; weights are embedded by that program.

    Raises ToolchainError when the compiler fails, OutputError when `folder` has no room.
    """
    with scratch_errors(folder):
        toolchain.run([*_CFLAGS, "-DEC_EMBED_WEIGHTS", "-c", "-I", str(C_FOLDER / "include"), "model.c", "-o",
                       "glue.o"], cwd=folder)
        toolchain.run(["-nostdlib", "-r", "glue.o", parts.kernels.path.name, *_helpers(toolchain, folder), "-o",
                       "model.o"], cwd=folder)
        return (folder / "model.o").read_bytes()


def _helpers(toolchain: Toolchain, folder: Path) -> list[str]:
    """Linker arguments for an object in `folder` with what generated code calls and the compiler does not supply."""
    if toolchain.arch != "armv7":
        return []
    toolchain.run([*_CFLAGS, "-ffunction-sections", "-c", str(_ARMV7_HELPERS), "-o", "helpers.o"], cwd=folder)
    return ["helpers.o", *(f"-Wl,--wrap={name}" for name in _ARMV7_WRAPPED)]


def _exported(path: Path) -> set[str]:
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        return {s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s["st_info"]["bind"] != "STB_LOCAL"}
