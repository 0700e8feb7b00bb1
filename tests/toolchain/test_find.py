from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgecls.errors import ToolchainError
from edgecls.targets import host_arch
from edgecls.toolchain import check_elf, elf_arch, find_toolchain, required_glibc
from edgecls.toolchain.elf import version_key

ARCHES = ("x86_64", "aarch64", "armv7")
EMULATOR = {"x86_64": "qemu-x86_64", "aarch64": "qemu-aarch64", "armv7": "qemu-arm"}
SYSROOT = {"x86_64": "/", "aarch64": "/usr/aarch64-linux-gnu", "armv7": "/usr/arm-linux-gnueabihf"}
EXP_C = "#include <math.h>\ndouble half_exp(double x) { return exp(x) / 2; }\n"
MAIN_C = "double half_exp(double);\nint main(int argc, char **argv) { (void)argv; return (int)half_exp(argc * 3.0); }\n"


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch):
    for arch in ARCHES:
        monkeypatch.delenv(f"EDGECLS_CC_{arch.upper()}", raising=False)


def without_zig(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def run(arch, program: Path) -> int:
    return subprocess.run([EMULATOR[arch], "-L", SYSROOT[arch], program]).returncode


@pytest.mark.parametrize("arch", ["aarch64", "armv7"])
def test_cross_gcc_comes_before_zig(arch):
    toolchain = find_toolchain(arch)
    assert (toolchain.kind, toolchain.arch) == ("gcc", arch)
    said = subprocess.run([toolchain.cc[0], "-dumpfullversion"], capture_output=True, text=True, check=True).stdout
    assert toolchain.version == said.strip()


def test_host_compiler_for_the_hosts_isa():
    toolchain = find_toolchain(host_arch())
    assert toolchain.kind == "gcc"
    assert toolchain.glibc == os.confstr("CS_GNU_LIBC_VERSION").split()[1]


@pytest.mark.parametrize("arch", ARCHES)
def test_older_glibc_than_gccs_means_zig(arch, tmp_path):
    toolchain = find_toolchain(arch, glibc="2.28")
    assert (toolchain.kind, toolchain.glibc) == ("zig", "2.28")
    (tmp_path / "exp.c").write_text(EXP_C)
    (tmp_path / "main.c").write_text(MAIN_C)
    toolchain.run(["-O2", "-fPIC", "-shared", "exp.c", "-o", "libexp.so", "-lm"], cwd=tmp_path)
    toolchain.run(["-O2", "main.c", "exp.c", "-o", "main", "-lm", "-lpthread", "-ldl"], cwd=tmp_path)
    for file in ("libexp.so", "main"):
        assert elf_arch(tmp_path / file) == arch
        check_elf(tmp_path / file, max_glibc="2.28",
                  allowed_needed={"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"})
    assert run(arch, tmp_path / "main") == 10  # exp(3) / 2


# half a minute for each ISA: zig builds its C library first
STATIC = [pytest.param(arch, kind, marks=pytest.mark.slow if kind == "zig" and arch != "aarch64" else ())
          for arch in ARCHES for kind in ("gcc", "zig")]


@pytest.mark.parametrize(("arch", "kind"), STATIC)
def test_static_programs(arch, kind, tmp_path, monkeypatch):
    """By gcc with its own C library, and by zig with musl when there is no gcc: both run with no sysroot."""
    (tmp_path / "exp.c").write_text(EXP_C)
    (tmp_path / "main.c").write_text(MAIN_C)
    if kind == "zig":
        monkeypatch.setattr("edgecls.toolchain.find._gcc", lambda arch: None)
    toolchain = find_toolchain(arch, glibc="2.17" if kind == "gcc" else None, static=True)
    assert toolchain.kind == kind and (kind == "gcc" or toolchain.glibc is None)
    toolchain.run(["-O2", "-static", "main.c", "exp.c", "-o", "main", "-lm", "-lpthread"], cwd=tmp_path)
    assert required_glibc(tmp_path / "main") is None
    assert subprocess.run([shutil.which(EMULATOR[arch]), tmp_path / "main"]).returncode == 10


def test_without_zig_gcc_is_taken_and_the_result_decides(monkeypatch, tmp_path):
    without_zig(monkeypatch)
    toolchain = find_toolchain("aarch64", glibc="2.28")
    assert toolchain.kind == "gcc" and version_key(toolchain.glibc or "0") > version_key("2.28")
    (tmp_path / "exp.c").write_text(EXP_C)
    (tmp_path / "main.c").write_text(MAIN_C)
    toolchain.run(["-O2", "-fPIC", "-shared", "exp.c", "-o", "libexp.so", "-lm"], cwd=tmp_path)
    check_elf(tmp_path / "libexp.so", max_glibc="2.29", allowed_needed={"libc.so.6", "libm.so.6"})
    toolchain.run(["-O2", "main.c", "exp.c", "-o", "main", "-lm"], cwd=tmp_path)
    with pytest.raises(ToolchainError, match=r"GLIBC_2\.34"):
        check_elf(tmp_path / "main", max_glibc="2.29", allowed_needed={"libc.so.6", "libm.so.6"})


def test_no_compiler_at_all(monkeypatch, tmp_path):
    without_zig(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    for arch, package in (("aarch64", "gcc-aarch64-linux-gnu"), ("armv7", "gcc-arm-linux-gnueabihf")):
        with pytest.raises(ToolchainError, match=f"no C compiler for {arch}") as caught:
            find_toolchain(arch)
        assert f"apt install {package}" in caught.value.hint and "pip install ziglang" in caught.value.hint


def test_configured_by_environment_or_target(monkeypatch):
    monkeypatch.setenv("EDGECLS_CC_AARCH64", "aarch64-linux-gnu-gcc '-DNAME=a b'")
    toolchain = find_toolchain("aarch64", glibc="2.17", configured=("nonexistent-gcc",))
    assert toolchain.kind == "configured"
    assert toolchain.cc == ("aarch64-linux-gnu-gcc", "-DNAME=a b")
    monkeypatch.delenv("EDGECLS_CC_AARCH64")
    assert find_toolchain("aarch64", configured=("aarch64-linux-gnu-gcc",)).kind == "configured"


@pytest.mark.parametrize("arch, command, message", [
    ("aarch64", "nonexistent-gcc", "cannot be started"),
    ("aarch64", "false", "failed: exit status 1"),
    ("aarch64", "true", "does not make aarch64 code"),
    ("aarch64", "arm-linux-gnueabihf-gcc", "does not make aarch64 code"),
    ("armv7", "aarch64-linux-gnu-gcc", "does not make armv7 code"),
    ("armv7", "'unclosed", "not a command"),
])
def test_mistakes_in_the_configured_compiler(monkeypatch, arch, command, message):
    monkeypatch.setenv(f"EDGECLS_CC_{arch.upper()}", command)
    with pytest.raises(ToolchainError, match=message) as caught:
        find_toolchain(arch)
    assert caught.value.hint


def test_compiler_errors_are_its_own_words(tmp_path):
    (tmp_path / "bad.c").write_text("int main(void) { return undeclared_name; }\n")
    (tmp_path / "undefined.c").write_text("int absent(void);\nint main(void) { return absent(); }\n")
    toolchain = find_toolchain("aarch64")
    with pytest.raises(ToolchainError, match=r"bad\.c:1:.*error: 'undeclared_name' undeclared") as caught:
        toolchain.run(["bad.c", "-o", "out"], cwd=tmp_path)
    assert "bad.c -o out" in caught.value.hint and not (tmp_path / "out").exists()
    with pytest.raises(ToolchainError, match="undefined reference to `absent'"):
        toolchain.run(["undefined.c", "-o", "out"], cwd=tmp_path)


def test_arguments_never_meet_a_shell(tmp_path):
    (tmp_path / "a;touch owned.c").write_text("int x;\n")
    find_toolchain("aarch64").run(["-c", "a;touch owned.c", "-o", "$(touch owned).o"], cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a;touch owned.c", "$(touch owned).o"}


def test_current_folder_cannot_pose_as_zig(tmp_path, monkeypatch):
    """An untrusted folder may hold a ziglang.py; `python -m ziglang` there would run it."""
    (tmp_path / "ziglang.py").write_text("raise SystemExit('owned')")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.c").write_text("int x;\n")
    find_toolchain("aarch64", glibc="2.28").run(["-O2", "-c", "x.c", "-o", "x.o"], cwd=tmp_path)
    assert elf_arch(tmp_path / "x.o") == "aarch64"
