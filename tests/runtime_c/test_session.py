"""Opening, running, profiling and misusing a session, under the sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from tests.runtime_c import tiny
from tests.runtime_c.conftest import run_driver


def test_outputs_equal_numpy_for_any_number_of_threads(driver, folder):
    expected = [tiny.network(tiny.golden_input(batch)).tobytes().hex() for batch in (1, 2)]
    for threads in ("1", "2", "3", "4", "16"):
        assert driver("outputs", folder, threads) == expected


def test_selftest_and_profile(driver, folder):
    driver("selftest", folder)


def test_misuse_is_an_error(driver, folder):
    driver("misuse", folder)


def test_every_bit_of_the_header_counts(driver, folder):
    driver("flip-header", folder)


def test_invoke_does_not_allocate(folder, tmp_path):
    program = tiny.compile_c(("gcc",), tmp_path / "driver", [tiny.HERE / "driver.c", *tiny.sources(program=False)],
                             "-DCOUNT_ALLOCATIONS", "-Wno-conversion")
    run_driver(program, "allocation-free", folder)


def test_two_sessions_in_two_threads_do_not_race(folder, tmp_path):
    program = tiny.compile_c(("gcc",), tmp_path / "driver", [tiny.HERE / "driver.c", *tiny.sources(program=False)],
                             "-fsanitize=thread", "-Wno-conversion")
    run_driver(program, "concurrent", folder)


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_pool(tmp_path, sanitizer):
    """Orders, errors, sleeping and ending, with as many threads as shares, fewer, and more than processors."""
    code = [tiny.RUNTIME / "src" / name for name in ("pool.c", "clock.c", "status.c")]
    program = tiny.compile_c(("gcc",), tmp_path / "pool", [tiny.HERE / "pool.c", *code], f"-I{tiny.RUNTIME / 'src'}",
                             f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all")
    for shares, threads in (("1", "1"), ("2", "2"), ("4", "4"), ("5", "3"), ("7", "1")):
        run_driver(program, shares, threads)


def test_the_pool_works_alone_for_a_while_after_a_pause(tmp_path):
    program = tiny.compile_c(("gcc",), tmp_path / "pool_alone", [tiny.HERE / "pool_alone.c", *(
        tiny.RUNTIME / "src" / name for name in ("pool.c", "status.c"))], f"-I{tiny.RUNTIME / 'src'}",
        "-fsanitize=thread", "-fno-sanitize-recover=all")
    run_driver(program)


@pytest.mark.parametrize("name", ["header.bin", "model.so", "weights.bin"])
def test_a_changed_file_is_noticed_before_it_is_loaded(ec_run, folder, name):
    rng = np.random.default_rng(1)
    data = (folder / name).read_bytes()
    for position in (0, len(data) - 1, *rng.integers(0, len(data), 6)):
        changed = bytearray(data)
        changed[position] ^= 0x40
        (folder / name).write_bytes(changed)
        done = subprocess.run([ec_run, folder, "--selftest"], capture_output=True, text=True)
        assert done.returncode == 2 and "ERROR: AddressSanitizer" not in done.stderr and done.stderr.count("\n") == 1
    for kept in (b"", data[:-1], data + b"\0"):
        (folder / name).write_bytes(kept)
        assert subprocess.run([ec_run, folder, "--selftest"], capture_output=True).returncode == 2
    (folder / name).unlink()
    assert subprocess.run([ec_run, folder, "--selftest"], capture_output=True).returncode == 2


def test_the_library_is_small_and_its_stack_is_not_executable(tmp_path: Path):
    library = tiny.compile_c(("gcc",), tmp_path / "libedgecls.so", tiny.sources(program=False), "-O2", "-g0", "-s",
                             "-shared", "-fPIC", "-fvisibility=hidden")
    assert library.stat().st_size < 80_000
    with library.open("rb") as file:
        elf = ELFFile(file)
        stack = next(s for s in elf.iter_segments() if s["p_type"] == "PT_GNU_STACK")
        assert not stack["p_flags"] & 1
        exported = {s.name for s in elf.get_section_by_name(".dynsym").iter_symbols()
                    if s["st_shndx"] != "SHN_UNDEF" and s["st_info"]["bind"] == "STB_GLOBAL"}
        assert exported and all(name.startswith("ec_") for name in exported)
        assert not any(name.startswith(("ec_session_", "ec_pool", "ec_model_")) for name in exported)
        needed = {t.needed for t in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
        assert needed <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}  # the last for thread-local variables
