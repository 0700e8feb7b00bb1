"""The CMake project as its users meet it: configure, build, install, find_package, run. The consumer is C++."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from tiny_model import CONTRACT, TinyModel

import edgecls
from edgecls.preprocess import preprocess
from edgecls.targets import host_arch
from edgecls.types import Artifact, Pixels

CMAKE = Path(__file__).parents[2] / "cmake"
TINY = Callable[..., Artifact]
CONSUMER = """
cmake_minimum_required(VERSION 3.21)
project(consumer CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(edgecls {version} REQUIRED)
foreach(library edgecls edgecls_static)
  add_executable(with_${{library}} {source})
  target_link_libraries(with_${{library}} PRIVATE edgecls::${{library}})
  target_compile_options(with_${{library}} PRIVATE -Wall -Wextra -Wpedantic -Werror -fno-exceptions -fno-rtti)
endforeach()
"""


def run(argv: Sequence[str | Path], cwd: Path | None = None) -> str:
    done = subprocess.run([str(a) for a in argv], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(preset: str, folder: Path, *options: str) -> Path:
    """Configure and build a preset of the project in `folder`."""
    run(["cmake", "--preset", preset, "-S", CMAKE, "-B", folder, "-G", "Ninja", *options], cwd=CMAKE)
    run(["cmake", "--build", folder])
    return folder


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cmake")
    build("native", folder / "build")
    run(["cmake", "--install", folder / "build", "--prefix", folder / "prefix"])
    return folder / "prefix"


def test_what_is_installed(prefix: Path) -> None:
    files = {str(p.relative_to(prefix)) for p in prefix.rglob("*") if not p.is_dir()}
    names = {Path(f).name for f in files}
    assert {"bin/ec_run", "include/edgecls.h", "include/ec_model.h", "include/edgecls.hpp"} <= files
    assert {"libedgecls.a", "libedgecls.so", "libedgecls.so.1", f"libedgecls.so.{edgecls.__version__}",
            "edgeclsConfig.cmake", "edgeclsConfigVersion.cmake", "edgeclsTargets.cmake"} <= names
    assert edgecls.__version__ in run([prefix / "bin/ec_run", "--version"])


@pytest.mark.parametrize("library", ["edgecls", "edgecls_static"])
def test_a_consumer_finds_the_package_and_runs(prefix: Path, tiny_bundle: TINY, tmp_path: Path, library: str) -> None:
    source = Path(__file__).with_name("example.cpp")
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER.format(version=edgecls.__version__, source=source))
    run(["cmake", "-S", tmp_path, "-B", tmp_path / "b", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}"])
    run(["cmake", "--build", tmp_path / "b", "--target", f"with_{library}"])
    said = run([tmp_path / "b" / f"with_{library}", tiny_bundle(host_arch()).path, tmp_path / "models"])
    grey = Pixels(np.full((30, 20, 3), 128, np.uint8))
    expected = TinyModel().reference(preprocess(grey, CONTRACT.image_input))
    np.testing.assert_allclose(np.array(said.split(), np.float32), expected[0], rtol=0, atol=1e-5)


def test_another_version_is_not_taken(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER.format(version="9.0", source="x.cpp"))
    done = subprocess.run(["cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}"],
                          capture_output=True, text=True)
    assert done.returncode != 0 and "9.0" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "machine"), [("aarch64", "EM_AARCH64"), ("armv7", "EM_ARM"),
                                                 ("aarch64-zig", "EM_AARCH64"), ("armv7-zig", "EM_ARM")])
def test_the_cross_presets_build(preset: str, machine: str, tmp_path: Path) -> None:
    with (build(preset, tmp_path / "b", f"-DEDGECLS_PYTHON={sys.executable}") / "ec_run").open("rb") as file:
        assert ELFFile(file)["e_machine"] == machine


def test_every_toolchain_file_has_a_preset() -> None:
    presets = json.loads((CMAKE / "CMakePresets.json").read_text())["configurePresets"]
    used = {Path(p["toolchainFile"]).name for p in presets if "toolchainFile" in p}
    assert used == {p.name for p in (CMAKE / "toolchains").iterdir()} - {"zig.cmake"}
