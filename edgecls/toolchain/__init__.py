"""C compilers for each ISA, and what an ELF file asks of the machine that loads it."""

from edgecls.toolchain.compiler import Toolchain
from edgecls.toolchain.elf import check_elf, elf_arch, elf_interpreter, required_glibc
from edgecls.toolchain.find import find_toolchain

__all__ = ["Toolchain", "check_elf", "elf_arch", "elf_interpreter", "find_toolchain", "required_glibc"]
