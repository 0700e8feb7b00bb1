from __future__ import annotations

import os
import subprocess

import pytest

from edgecls.errors import TargetError
from edgecls.targets import feature_mask, host_arch, host_features, load_target, native_target
from edgecls.targets.features import features_of_cpuinfo
from edgecls.targets.host import arm_name, read_caches, read_clock, x86_name
from edgecls.targets.load import _violations

X86_AVX2 = "fpu sse sse2 pni ssse3 sse4_1 sse4_2 avx f16c fma movbe popcnt abm bmi1 bmi2 avx2 adx"
X86_AVX512 = f"{X86_AVX2} avx512f avx512cd avx512bw avx512dq avx512vl avx512_vnni"


def cpuinfo(flags: str, cores: int = 2) -> str:
    return "".join(f"processor\t: {n}\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\n" for n in range(cores))


def arm_cpuinfo(*parts: int, implementer: str = "0x41") -> str:
    return "".join(f"processor\t: {n}\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: {implementer}\n"
                   f"CPU part\t: {part:#x}\n\n" for n, part in enumerate(parts))


def test_the_clock_is_the_highest_that_the_system_tells(tmp_path):
    info = "cpu MHz\t\t: 1200.5\n\ncpu MHz\t\t: 2596.1\n"
    assert read_clock(tmp_path, "") == 1000
    assert read_clock(tmp_path, info) == 2596
    (tmp_path / "cpufreq").mkdir()
    (tmp_path / "cpufreq" / "cpuinfo_max_freq").write_text("2900000\n")
    assert read_clock(tmp_path, info) == 2900
    (tmp_path / "acpi_cppc").mkdir()
    for name, value in (("nominal_freq", 2900), ("nominal_perf", 100), ("highest_perf", 130)):
        (tmp_path / "acpi_cppc" / name).write_text(f"{value}\n")
    assert read_clock(tmp_path, info) == 3770
    (tmp_path / "acpi_cppc" / "nominal_perf").write_text("0\n")
    (tmp_path / "acpi_cppc" / "highest_perf").write_text("not a number\n")
    assert read_clock(tmp_path, info) == 2900


def test_native_describes_this_machine():
    target = native_target()
    assert _violations(target) == []
    assert target == load_target("native")
    assert (target.cpu.arch, target.cpu.features) == (host_arch(), host_features())
    assert target.cpu.cores == os.cpu_count()
    assert feature_mask(target.cpu.features) >= 0
    libc = subprocess.run(["getconf", "GNU_LIBC_VERSION"], capture_output=True, text=True, check=True).stdout
    assert libc.split() == ["glibc", target.os.glibc]
    for key, name in (("l1d", "LEVEL1_DCACHE_SIZE"), ("l2", "LEVEL2_CACHE_SIZE")):
        size = subprocess.run(["getconf", name], capture_output=True, text=True, check=True).stdout.strip()
        if size.isdigit() and int(size) and host_arch() == "x86_64":
            assert getattr(target.cpu.cache, key) == int(size)


def test_native_without_llvm_is_a_class_of_cpus(monkeypatch):
    monkeypatch.setattr("edgecls.targets.host._llvm_cpu", lambda: None)
    target = native_target()
    assert _violations(target) == []
    if host_arch() == "x86_64":
        assert target.cpu.name in ("x86-64", "haswell", "skylake-avx512")


@pytest.mark.parametrize("flags, llvm, name", [
    (X86_AVX512, None, "skylake-avx512"), (X86_AVX2, None, "haswell"), ("sse sse2 avx", None, "x86-64"),
    (X86_AVX2.replace("bmi2", ""), None, "x86-64"), ("", None, "x86-64"),
    (X86_AVX2, ("znver2", frozenset({"avx2", "fma", "sse4.1", "sse3", "bmi", "64bit", "fast-lzcnt"})), "znver2"),
    # a hypervisor hides AVX-512: LLVM's name for the chip would allow it
    (X86_AVX2, ("znver4", frozenset({"avx2", "avx512f", "avx512bf16"})), "haswell"),
    (X86_AVX512, ("znver4", frozenset({"avx2", "avx512f", "avx512vnni"})), "znver4"),
    (X86_AVX2, ("mystery", frozenset()), "haswell")])
def test_x86_name_never_implies_a_missing_instruction(flags, llvm, name):
    assert x86_name(cpuinfo(flags), llvm) == name


@pytest.mark.parametrize("text, name", [
    (arm_cpuinfo(0xD08, 0xD08, 0xD08, 0xD08), "cortex-a72"), (arm_cpuinfo(0xD0B), "cortex-a76"),
    (arm_cpuinfo(0xD42), "cortex-a78ae"), (arm_cpuinfo(0xD03, 0xD08), "generic"), (arm_cpuinfo(0xFFF), "generic"),
    (arm_cpuinfo(0xD08, implementer="0x61"), "generic"), ("", "generic"), ("CPU part : x\n", "generic")])
def test_arm_name(text, name):
    assert arm_name(text) == name


def test_features_are_those_of_every_core():
    assert features_of_cpuinfo(arm_cpuinfo(0xD08), "aarch64") == ("neon", "crc")
    assert features_of_cpuinfo(cpuinfo(X86_AVX512), "x86_64")[-2:] == ("avx512vnni", "f16c")
    assert features_of_cpuinfo(cpuinfo(X86_AVX512) + cpuinfo(X86_AVX2), "x86_64") == ("avx2", "fma", "f16c")
    assert features_of_cpuinfo("Features\t: half thumb neon vfpv3 vfpv4 idiva\n", "armv7") == ("neon", "vfpv4")
    assert features_of_cpuinfo("", "x86_64") == ()


def test_caches_from_sysfs(tmp_path):
    for n, (level, kind, size) in enumerate([(1, "Data", "48K"), (1, "Instruction", "64K"), (2, "Unified", "1024K"),
                                             (3, "Unified", "x")]):
        (tmp_path / f"index{n}").mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size), ("coherency_line_size", 128)):
            (tmp_path / f"index{n}" / name).write_text(f"{value}\n")
    cache = read_caches(tmp_path)
    assert (cache.l1d, cache.l2, cache.l3, cache.line) == (48 << 10, 1 << 20, 0, 128)
    assert read_caches(tmp_path / "absent").l1d == 32 << 10


def test_unknown_machine(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(TargetError, match="riscv64"):
        host_arch()


def test_native_survives_a_machine_that_tells_nothing(monkeypatch):
    monkeypatch.setattr("edgecls.targets.host._text", lambda path: "")
    target = native_target()
    assert _violations(target) == []
