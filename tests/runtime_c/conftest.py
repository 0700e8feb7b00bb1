from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime_c import tiny

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="session")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return tiny.members(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tmp_path: Path, members: dict[str, bytes]) -> Path:
    """An installed tiny model of the test's own."""
    return tiny.unpack(tmp_path / "installed", members)


@pytest.fixture(scope="session")
def ec_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, under the address and undefined-behaviour sanitizers."""
    return tiny.compile_c(("gcc",), tmp_path_factory.mktemp("ec_run") / "ec_run", tiny.sources(program=True), *SANITIZE)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Run a verb of driver.c under the same sanitizers; its lines of output."""
    program = tiny.compile_c(("gcc",), tmp_path_factory.mktemp("driver") / "driver",
                             [tiny.HERE / "driver.c", *tiny.sources(program=False)], "-Wno-conversion", *SANITIZE)
    return lambda *arguments, **options: run_driver(program, *arguments, **options)


def run_driver(program: Path, *arguments: str | Path, stdin: str = "") -> list[str]:
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "done"
    return lines
