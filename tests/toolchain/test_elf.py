from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecls.errors import ToolchainError
from edgecls.toolchain import check_elf, elf_arch, elf_interpreter, find_toolchain, required_glibc
from edgecls.toolchain.elf import version_key

THREADS_C = """
#include <math.h>
#include <pthread.h>
static void *work(void *x) { *(double *)x = exp(*(double *)x); return x; }
int main(int argc, char **argv) {
  pthread_t thread; double x = argc; (void)argv;
  pthread_create(&thread, 0, work, &x); pthread_join(thread, 0);
  return x > 1e9;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A program by Debian's aarch64 gcc, whose C library is newer than any shipped target's oldest."""
    folder = tmp_path_factory.mktemp("elf")
    (folder / "threads.c").write_text(THREADS_C)
    subprocess.run(["aarch64-linux-gnu-gcc", "-O2", "threads.c", "-o", "threads", "-lm", "-lpthread"], cwd=folder,
                   check=True)
    return folder / "threads"


def test_symbol_versions_are_those_binutils_reads(program):
    said = subprocess.run(["readelf", "-V", program], capture_output=True, text=True, check=True).stdout
    versions = re.findall(r"Name: GLIBC_([0-9.]+)", said)
    assert required_glibc(program) == max(versions, key=version_key)
    assert elf_arch(program) == "aarch64"
    assert f"[Requesting program interpreter: {elf_interpreter(program)}]" in subprocess.run(
        ["readelf", "-l", program], capture_output=True, text=True, check=True).stdout


def test_check_elf_refuses_what_would_not_load(program):
    newest = required_glibc(program)
    assert newest
    check_elf(program, max_glibc=newest, allowed_needed={"libc.so.6", "libm.so.6"})
    with pytest.raises(ToolchainError, match=r"needs libm\.so\.6|needs libc\.so\.6"):
        check_elf(program, max_glibc=newest, allowed_needed=())
    with pytest.raises(ToolchainError, match=r"needs GLIBC_2\.\d\d of lib[cm]\.so\.6.*may be 2\.17") as caught:
        check_elf(program, max_glibc="2.17", allowed_needed={"libc.so.6", "libm.so.6"})
    assert "pip install ziglang" in caught.value.hint


def test_static_program_needs_nothing(tmp_path):
    (tmp_path / "threads.c").write_text(THREADS_C)
    find_toolchain("armv7", static=True).run(["-O2", "-static", "threads.c", "-o", "t", "-lm", "-lpthread"], tmp_path)
    assert required_glibc(tmp_path / "t") is None and elf_interpreter(tmp_path / "t") is None
    check_elf(tmp_path / "t", max_glibc="2.17", allowed_needed=())
    assert elf_arch(tmp_path / "t") == "armv7"


def test_packed_relocations_need_the_glibc_that_reads_them(tmp_path):
    (tmp_path / "x.c").write_text("int g; int *p = &g; int main(void) { return *p; }")
    find_toolchain("aarch64").run(["-O2", "-pie", "-fPIE", "-Wl,-z,pack-relative-relocs", "x.c", "-o", "x"], tmp_path)
    listed = subprocess.run(["readelf", "-V", tmp_path / "x"], capture_output=True, text=True, check=True).stdout
    if "GLIBC_ABI_DT_RELR" in listed:  # older binutils ignore the option
        assert required_glibc(tmp_path / "x") == "2.36"
    else:
        assert required_glibc(tmp_path / "x") == "2.34"


def test_damaged_files_are_toolchain_errors(program, tmp_path):
    original = program.read_bytes()

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, len(original)), st.dictionaries(st.integers(0, 1499) | st.integers(0, len(original) - 1),
                                                          st.integers(0, 255), max_size=6))
    def damage(length: int, changes: dict[int, int]) -> None:
        image = bytearray(original)
        for place, value in changes.items():
            image[place] = value
        (tmp_path / "damaged").write_bytes(image[:length] if length % 2 else image)
        for question in (required_glibc, elf_arch, elf_interpreter,
                         lambda p: check_elf(p, max_glibc="2.99", allowed_needed=("libc.so.6", "libm.so.6"))):
            try:
                question(tmp_path / "damaged")
            except ToolchainError as error:
                assert error.hint

    damage()


def test_file_without_section_headers_is_not_waved_through(program, tmp_path):
    image = bytearray(program.read_bytes())
    image[40:48] = bytes(8)  # e_shoff
    image[58:64] = bytes(6)  # e_shentsize, e_shnum, e_shstrndx
    (tmp_path / "stripped").write_bytes(image)
    with pytest.raises(ToolchainError, match="not a sound ELF file"):
        check_elf(tmp_path / "stripped", max_glibc="2.17", allowed_needed=())


def test_what_is_no_elf_file(tmp_path):
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "text", tmp_path / "absent", Path("/dev/null"), tmp_path):
        with pytest.raises(ToolchainError):
            elf_arch(path)


def test_versions_sort_by_number():
    assert sorted(["2.28", "2.9", "2.2.5", "2.17"], key=version_key) == ["2.2.5", "2.9", "2.17", "2.28"]
