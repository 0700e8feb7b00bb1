"""The target `native`: this machine, as far as it describes itself."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import NamedTuple

from edgecls.errors import TargetError
from edgecls.targets.features import features_of_cpuinfo
from edgecls.types import Arch, Cache, Cpu, Os, Target

_MACHINES: dict[str, Arch] = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64",
                              "armv7l": "armv7", "armv8l": "armv7"}
# The "CPU part" of Arm's own designs (implementer 0x41) in /proc/cpuinfo -> LLVM's name.
_ARM_PARTS = {0xC07: "cortex-a7", 0xC09: "cortex-a9", 0xC0F: "cortex-a15", 0xD03: "cortex-a53", 0xD05: "cortex-a55",
              0xD07: "cortex-a57", 0xD08: "cortex-a72", 0xD0B: "cortex-a76", 0xD0C: "neoverse-n1",
              0xD40: "neoverse-v1", 0xD41: "cortex-a78", 0xD42: "cortex-a78ae", 0xD49: "neoverse-n2"}
# Flags of LLVM that say which instructions it may emit; the others tune or concern the kernel.
_X86_CODE = re.compile(r"avx|amx|sse|ssse|fma|f16c|bmi|gfni|vaes|vpclmul|popcnt|movbe|adx|xop")


class _Unit(NamedTuple):
    """The float unit of a core: see edgecls.types.Cpu."""

    bits: int
    registers: int
    pipes: int
    latency: int
    loads: int
    source: str


_ARM_BIG = "Arm Cortex-A76 and Cortex-A78 Software Optimization Guides"
_UNITS: dict[str, _Unit] = {
    "cortex-a7": _Unit(128, 16, 1, 8, 1, "as targets/armv7.toml"),
    "cortex-a53": _Unit(128, 32, 1, 8, 1, "as targets/raspberry-pi-3.toml"),
    "cortex-a72": _Unit(128, 32, 1, 7, 1, "as targets/raspberry-pi-4.toml"),
    "cortex-a76": _Unit(128, 32, 2, 4, 2, _ARM_BIG),
    "cortex-a78": _Unit(128, 32, 2, 4, 2, _ARM_BIG),
    "cortex-a78ae": _Unit(128, 32, 2, 4, 2, _ARM_BIG),
    "neoverse-n1": _Unit(128, 32, 2, 4, 2, "Arm Neoverse N1 Software Optimization Guide"),
    # 512-bit operations take both halves of a 256-bit pair there
    "znver4": _Unit(512, 32, 1, 4, 1, "AMD Software Optimization Guide for Zen 4 (57647)"),
    "znver5": _Unit(512, 32, 2, 4, 2, "AMD Software Optimization Guide for Zen 5 (58455)"),
}
_DEFAULT_UNITS: dict[str, _Unit] = {
    "avx512": _Unit(512, 32, 2, 4, 2, "assumed, as targets/x86-64-avx512.toml"),
    "avx2": _Unit(256, 16, 2, 5, 2, "assumed, as targets/x86-64-avx2.toml"),
    "x86_64": _Unit(128, 16, 1, 5, 1, "assumed: any x86-64"),
    "aarch64": _Unit(128, 32, 1, 7, 1, "assumed, as targets/aarch64.toml"),
    "armv7": _Unit(128, 16, 1, 8, 1, "assumed, as targets/armv7.toml"),
}


def host_arch() -> Arch:
    """The ISA of this machine. Raises TargetError where edgecls has no name for it."""
    machine = platform.machine().lower()
    if machine not in _MACHINES:
        raise TargetError(f"this machine is a {machine or 'machine of unknown ISA'}",
                          "name a target to compile for: edgecls targets lists them")
    if _MACHINES[machine] == "aarch64" and sys.maxsize < 1 << 32:
        return "armv7"  # a 32-bit system on a 64-bit kernel, as Raspberry Pi OS may be
    return _MACHINES[machine]


def host_features() -> tuple[str, ...]:
    """The FEATURES of this machine, from /proc/cpuinfo."""
    return features_of_cpuinfo(_text("/proc/cpuinfo"), host_arch())


def native_target() -> Target:
    """This machine. Its CPU name is LLVM's where LLVM can be asked, and never implies an instruction it lacks."""
    arch, cpuinfo = host_arch(), _text("/proc/cpuinfo")
    features = features_of_cpuinfo(cpuinfo, arch)
    name = x86_name(cpuinfo, _llvm_cpu()) if arch == "x86_64" else arm_name(cpuinfo)
    unit = _UNITS.get(name) or _DEFAULT_UNITS[_vector_class(arch, features)]
    clock = read_clock(Path("/sys/devices/system/cpu/cpu0"), cpuinfo)
    memory = _number(_field(_text("/proc/meminfo"), "MemTotal")) // 1024 or 1024
    libc, version = platform.libc_ver()
    model = _field(cpuinfo, "model name") or name
    return Target(
        name="native", description=f"this machine ({model})",
        cpu=Cpu(name=name, arch=arch, features=features, cores=os.cpu_count() or 1, clock_mhz=clock,
                vector_bits=unit.bits, vector_registers=unit.registers, fma_pipes=unit.pipes,
                fma_latency=unit.latency, load_ports=unit.loads,
                cache=read_caches(Path("/sys/devices/system/cpu/cpu0/cache"))),
        memory_mb=memory,
        os=Os(glibc=version if libc == "glibc" and re.fullmatch(r"2\.\d{1,2}", version) else "2.28"),
        sources={"cpu": "/proc/cpuinfo and LLVM's host detection",
                 "cpu.clock_mhz": "highest of cpufreq and ACPI CPPC, else of /proc/cpuinfo",
                 "cpu.cores": "os.cpu_count()", "cpu.cache": "/sys/devices/system/cpu/cpu0/cache, else assumed",
                 "memory_mb": "/proc/meminfo", "os.glibc": "this machine's C library",
                 **{f"cpu.{key}": unit.source for key in
                    ("vector_bits", "vector_registers", "fma_pipes", "fma_latency", "load_ports")}})


def x86_name(cpuinfo: str, llvm: tuple[str, frozenset[str]] | None) -> str:
    """LLVM's CPU name when every instruction set it implies is in cpuinfo (a hypervisor may hide some), else a class.

    llvm: (host CPU name, the LLVM features that name implies), or None when LLVM cannot be asked.
    """
    flags = {flag.replace("_", "") for flag in _field(cpuinfo, "flags").split()}
    flags |= {ours for theirs, ours in (("pni", "sse3"), ("bmi1", "bmi")) if theirs in flags}  # the kernel's words
    if llvm is not None:
        implied = {f.replace(".", "") for f in llvm[1] if _X86_CODE.match(f)}
        if implied and implied <= flags:
            return llvm[0]
    if not {"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"} <= flags:
        return "x86-64"
    wide = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "adx"} <= flags
    return "skylake-avx512" if wide else "haswell"


def arm_name(cpuinfo: str) -> str:
    """LLVM's name of the cores when they are all of one known design of Arm's, else "generic"."""
    implementers, parts = _values(cpuinfo, "CPU implementer"), _values(cpuinfo, "CPU part")
    if implementers == {"0x41"} and len(parts) == 1:
        return _ARM_PARTS.get(int(parts.pop(), 16), "generic")
    return "generic"


def read_clock(folder: Path, cpuinfo: str) -> int:
    """The highest clock of core 0, MHz, as far as the system tells it: cpufreq may know no boost, ACPI's performance
    levels do; the clocks of /proc/cpuinfo are of this moment, and of a virtual machine's description."""
    levels = {name: _number(_text(folder / "acpi_cppc" / name)) for name in ("highest_perf", "nominal_perf",
                                                                            "nominal_freq")}
    boost = levels["nominal_freq"] * levels["highest_perf"] // (levels["nominal_perf"] or 1)
    known = max(_number(_text(folder / "cpufreq" / "cpuinfo_max_freq")) // 1000, boost)
    return known or max(map(_number, _values(cpuinfo, "cpu MHz")), default=0) or 1000


def read_caches(folder: Path) -> Cache:
    """The caches core 0 sees, bytes, from sysfs; the smallest usual ones where it says nothing (many boards)."""
    sizes, line = {1: 32 << 10, 2: 256 << 10, 3: 0}, 64
    for index in sorted(folder.glob("index*")):
        level, size = _number(_text(index / "level")), _number(_text(index / "size")) << 10
        if _text(index / "type").strip() in ("Data", "Unified") and level in sizes and size:
            sizes[level] = size
            line = _number(_text(index / "coherency_line_size")) or line
    return Cache(l1d=sizes[1], l2=sizes[2], l3=sizes[3], line=line)


def _vector_class(arch: Arch, features: tuple[str, ...]) -> str:
    if arch != "x86_64":
        return arch
    return "avx512" if "avx512vl" in features else "avx2" if {"avx2", "fma"} <= set(features) else "x86_64"


def _llvm_cpu() -> tuple[str, frozenset[str]] | None:
    try:
        import tvm
        from tvm.target import codegen

        name = str(codegen.llvm_get_system_cpu())
        implied = codegen.llvm_get_cpu_features(tvm.target.Target({"kind": "llvm", "mcpu": name}))
        return name, frozenset(map(str, implied))
    except Exception:  # an optional source: whatever is wrong with it, /proc/cpuinfo answers too
        return None


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _values(text: str, key: str) -> set[str]:
    return {value.strip() for line in text.splitlines() for name, _, value in [line.partition(":")]
            if name.strip() == key}


def _field(text: str, key: str) -> str:
    return next((value.strip() for line in text.splitlines() for name, _, value in [line.partition(":")]
                 if name.strip() == key), "")


def _number(text: str) -> int:
    """The whole number at the start of "2048K" or "2596.1"; 0 when there is none."""
    match = re.match(r"\s*(\d{1,15})", text)
    return int(match[1]) if match else 0
