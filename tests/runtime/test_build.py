"""ec_run and libedgecls: cached, raced for, small, hardened, and static with two models inside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from PIL import Image
from tiny_model import CONTRACT, TinyModel

from edgecls.errors import BundleError, EdgeclsError, OutputError, ToolchainError
from edgecls.preprocess import preprocess
from edgecls.runtime.build import StaticModel, build_library, build_runner
from edgecls.targets import host_arch
from edgecls.toolchain import find_toolchain
from edgecls.types import Arch, Pixels

ARCHES = ("x86_64", "aarch64", "armv7")
EMULATOR = {"x86_64": "qemu-x86_64", "aarch64": "qemu-aarch64", "armv7": "qemu-arm"}


@pytest.mark.parametrize("arch", ARCHES)
def test_the_runtime_is_small_and_needs_the_c_library_only(arch: Arch) -> None:
    toolchain = find_toolchain(arch)
    for path in (build_runner(arch, toolchain), build_library(arch, toolchain)):
        with path.open("rb") as file:
            elf = ELFFile(file)
            # what is loaded: between segments the file has holes of up to an ARM page of 64 KiB
            assert sum(s["p_filesz"] for s in elf.iter_segments() if s["p_type"] == "PT_LOAD") < 100_000
            assert elf.get_section_by_name(".symtab") is None, "not stripped"
            needed = {tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
            stack = next(s for s in elf.iter_segments() if s["p_type"] == "PT_GNU_STACK")
            assert not stack["p_flags"] & 1, "the stack is executable"
            assert any(s["p_type"] == "PT_GNU_RELRO" for s in elf.iter_segments())
        assert needed <= {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-armhf.so.3",
                          "ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2"}


def test_the_library_exports_its_header_and_nothing_else() -> None:
    with build_library(host_arch(), find_toolchain(host_arch())).open("rb") as file:
        symbols = [s for s in ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
                   if s["st_shndx"] != "SHN_UNDEF"]
        names = {s.name for s in symbols}
    assert {"ec_open", "ec_close", "ec_invoke", "ec_last_error"} <= names
    header = (Path(__file__).parents[2] / "edgecls/runtime/c/include/edgecls.h").read_text()
    assert [name for name in names if f"{name}(" not in header] == []


def test_a_second_build_is_the_first_one(cache: Path) -> None:
    toolchain = find_toolchain(host_arch())
    first = build_library(host_arch(), toolchain)
    stamp = first.stat()
    assert first.is_relative_to(cache)
    assert build_library(host_arch(), toolchain) == first
    assert first.stat().st_mtime_ns == stamp.st_mtime_ns and first.stat().st_ino == stamp.st_ino


def test_processes_that_build_at_once_all_succeed(cache: Path) -> None:
    program = ("from edgecls.runtime.build import build_library as b\n"
               "from edgecls.toolchain import find_toolchain as f\n"
               "from edgecls.targets import host_arch\n"
               "print(b(host_arch(), f(host_arch())))")
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate()[0].strip() for process in running}
    assert all(process.returncode == 0 for process in running)
    assert len(paths) == 1
    assert [p.name for p in Path(paths.pop()).parent.iterdir()] == ["libedgecls.so"], "a build folder was left"


def test_a_compiler_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toolchain = find_toolchain(host_arch(), configured=("cc", "-DEC_OK=nonsense("))
    with pytest.raises(ToolchainError):
        build_runner(host_arch(), toolchain)
    assert [p for p in cache.rglob("*") if not p.is_dir()] == []
    assert list(cache.rglob(".build-*")) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot keep") as caught:
        build_library(host_arch(), find_toolchain(host_arch()))
    assert "XDG_CACHE_HOME" in caught.value.hint


@pytest.mark.parametrize("compiler", ["gcc", pytest.param("zig", marks=pytest.mark.slow)])
@pytest.mark.parametrize("arch", ARCHES)
def test_two_models_link_into_one_static_program(
        arch: Arch, compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = []
    with monkeypatch.context() as patch:
        if compiler == "zig":
            patch.setenv("PATH", "")  # zig is found as a Python package
        toolchain = find_toolchain(arch, static=True)
    assert compiler in toolchain.cc[0] or toolchain.kind == compiler
    for seed, name in enumerate(("first", "second")):
        folder = tmp_path / name
        folder.mkdir()
        tiny = TinyModel(seed, name)
        (folder / "weights.bin").write_bytes(tiny.weights)
        models.append(StaticModel(symbol=tiny.symbol, name=name, archive=tiny.archive(folder, toolchain),
                                  weights=folder / "weights.bin"))
    program = build_runner(arch, toolchain, static_models=models)
    with program.open("rb") as file:
        assert not any(s["p_type"] in ("PT_INTERP", "PT_DYNAMIC") for s in ELFFile(file).iter_segments())
    command = [str(program)] if arch == host_arch() else [EMULATOR[arch], str(program)]
    pixels = np.random.default_rng(8).integers(0, 256, (24, 36, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.ppm")
    tensor = preprocess(Pixels(pixels), CONTRACT.image_input)
    for seed, name in enumerate(("first", "second")):
        said = subprocess.run([*command, f"@{name}", "--image", str(tmp_path / "photo.ppm"), "--top", "4"],
                              capture_output=True, text=True, check=True).stdout
        answers = {int(line.split("\t")[0]): float(line.split("\t")[1]) for line in said.splitlines()}
        logits = TinyModel(seed, name).reference(tensor)[0].astype(np.float64)
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose([answers[i] for i in range(4)], expected, rtol=0, atol=2e-6)
        subprocess.run([*command, f"@{name}", "--selftest"], capture_output=True, check=True)
    done = subprocess.run([*command, "@third", "--selftest"], capture_output=True, text=True)
    assert done.returncode != 0 and "third" in done.stderr


def test_static_models_that_cannot_be_linked(tmp_path: Path) -> None:
    toolchain = find_toolchain(host_arch(), static=True)
    tiny = TinyModel()
    good = StaticModel(symbol=tiny.symbol, name="tiny", archive=tmp_path / "absent.a", weights=tmp_path / "absent.bin")
    with pytest.raises(BundleError, match=r"absent\.a"):
        build_runner(host_arch(), toolchain, static_models=[good])
    (tmp_path / "absent.a").write_text("not an archive")
    (tmp_path / "absent.bin").write_bytes(tiny.weights)
    with pytest.raises(ToolchainError):
        build_runner(host_arch(), toolchain, static_models=[good])
    with pytest.raises(BundleError, match="twice"):
        build_runner(host_arch(), toolchain, static_models=[good, good])
    bad = StaticModel(symbol="main; system(\"x\")", name="x", archive=good.archive, weights=good.weights)
    with pytest.raises(EdgeclsError, match="not the symbol"):
        build_runner(host_arch(), toolchain, static_models=[bad])
