"""A compiler without room for its files, as the real ones say it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgecls.errors import OutputError, ToolchainError
from edgecls.toolchain import find_toolchain
from edgecls.toolchain.compiler import run_compiler

COMPILE = """
import resource, sys
from pathlib import Path
from edgecls.errors import OutputError
from edgecls.toolchain import find_toolchain
toolchain = find_toolchain("armv7", glibc=sys.argv[1] or None)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    toolchain.run(["-shared", "-fPIC", "a.c", "-o", "a.so"], cwd=Path(sys.argv[2]))
except OutputError as error:
    print(toolchain.kind, error)
"""


@pytest.mark.parametrize(("kind", "glibc"), [("gcc", ""), ("zig", "2.28")])
def test_no_room_for_the_compilers_files(kind, glibc, tmp_path, monkeypatch):
    monkeypatch.delenv("EDGECLS_CC_ARMV7", raising=False)
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "a.c").write_text("int f(int x) { return x; }\n")
    done = subprocess.run([sys.executable, "-c", COMPILE, glibc, tmp_path], capture_output=True, text=True,
                          cwd=Path(__file__).parents[2], check=True)
    first, hint = done.stdout.splitlines()
    assert first.startswith(f"{kind} {tmp_path}: the compiler ") and first.endswith("has no room for its files")
    assert "TMPDIR" in hint


def test_a_compiler_stopped_at_the_size_limit(tmp_path):
    script = f"import os, signal; signal.signal(signal.{signal.SIGXFSZ.name}, signal.SIG_DFL); os.kill(os.getpid(), 25)"
    assert signal.SIGXFSZ == 25
    with pytest.raises(OutputError, match="no room"):
        run_compiler([sys.executable, "-c", script], tmp_path)


def test_another_failure_is_the_compilers(tmp_path):
    (tmp_path / "a.c").write_text("int f(int x) { return y; }\n")
    with pytest.raises(ToolchainError, match="'y'"):
        find_toolchain("armv7").run(["-c", "a.c"], cwd=tmp_path)
