"""An AArch64 root file system that Python and the peers' own wheels run in under qemu, made with package managers.

Debian's packages are unpacked, not installed; apt keeps its state in the folder. What an engine asks of /proc and /sys
(cores, caches, the CPU's identity) it would otherwise read from the machine that emulates: files in the root answer for
a Raspberry Pi 4.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.evidence import say

WHEELS = {"numpy": "2.4.6", "ncnn": "1.0.20261020", "mnn": "3.6.1", "onnxruntime": "1.31.1", "openvino": "2026.4.1",
          "litert": "2.3.0"}
_PACKAGES = {"litert": "ai-edge-litert"}
_DEBIAN = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1", "zlib1g")
_SOURCE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n"
_PLATFORMS = ("manylinux2014", "manylinux_2_27", "manylinux_2_28", "manylinux_2_31", "manylinux_2_35")
_CORES = range(4)
_CPUINFO = "".join(f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
                   "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\n"
                   "CPU revision\t: 3\n\n" for core in _CORES)
_CACHES = (("1", "Data", "32K", "2", "256"), ("1", "Instruction", "48K", "3", "256"),
           ("2", "Unified", "1024K", "16", "1024"))


class ArmRoot:
    """A folder; what is there already is not made again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.sysroot = self.folder / "root"
        self.python = self.sysroot / "usr/bin/python3.11"

    def prepare(self) -> None:
        if not self.python.exists():
            say("unpacking Debian's Python for arm64")
            self._unpack_debian()
        describe_board(self.sysroot)

    def wheel(self, name: str) -> Path:
        """The folder that the wheel of WHEELS is unpacked in."""
        folder = self.folder / "wheels" / f"{name}-{WHEELS[name]}"
        if not folder.exists():
            say(f"installing {name} {WHEELS[name]} for aarch64")
            subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps",
                            "--only-binary=:all:", "--no-compile", "--python-version", "3.11", "--implementation", "cp",
                            *(f"--platform={platform}_aarch64" for platform in _PLATFORMS),
                            "--target", str(folder), f"{_PACKAGES.get(name, name)}=={WHEELS[name]}"], check=True)
            self._compile(folder)
        return folder

    def _unpack_debian(self) -> None:
        apt = self.folder / "apt"
        for part in ("lists/partial", "cache/archives/partial"):
            (apt / part).mkdir(parents=True, exist_ok=True)
        (apt / "status").touch()
        (apt / "sources.list").write_text(_SOURCE)
        settings = {"APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Sandbox::User": "root",
                    "Dir::State": apt, "Dir::State::lists": apt / "lists", "Dir::State::status": apt / "status",
                    "Dir::Cache": apt / "cache", "Dir::Etc::sourcelist": apt / "sources.list",
                    "Dir::Etc::sourceparts": "/dev/null"}
        options = [f"-o{key}={value}" for key, value in settings.items()]
        subprocess.run(["apt-get", *options, "-qq", "update"], check=True)
        subprocess.run(["apt-get", *options, "-qq", "-y", "-d", "--no-install-recommends", "install", *_DEBIAN],
                       check=True)
        for package in sorted((apt / "cache/archives").glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, self.sysroot], check=True)
        self._compile(self.sysroot / "usr/lib/python3.11")

    def _compile(self, folder: Path) -> None:
        """To bytecode, which every start would else do anew. Some packages hold files that are not Python 3.11."""
        subprocess.run(["qemu-aarch64", "-L", self.sysroot, self.python, "-S", "-m", "compileall", "-qq", folder])


def describe_board(root: Path) -> None:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text(_CPUINFO)
    cpus = root / "sys/devices/system/cpu"
    files = dict.fromkeys(("possible", "present", "online"), "0-3")
    for core in _CORES:
        files |= {f"cpu{core}/{name}": value for name, value in {
            "regs/identification/midr_el1": "0x00000000410fd083", "cpufreq/cpuinfo_max_freq": "1500000",
            "cpufreq/cpuinfo_min_freq": "600000", "topology/core_id": str(core), "topology/physical_package_id": "0",
            "topology/package_cpus_list": "0-3", "topology/core_siblings_list": "0-3",
            "topology/thread_siblings_list": str(core)}.items()}
        for index, (level, kind, size, ways, sets) in enumerate(_CACHES):
            shared = level == "2"
            files |= {f"cpu{core}/cache/index{index}/{name}": value for name, value in {
                "level": level, "type": kind, "size": size, "ways_of_associativity": ways, "number_of_sets": sets,
                "coherency_line_size": "64", "shared_cpu_list": "0-3" if shared else str(core),
                "shared_cpu_map": "f" if shared else f"{1 << core:x}"}.items()}
    for name, value in files.items():
        (cpus / name).parent.mkdir(parents=True, exist_ok=True)
        (cpus / name).write_text(value + "\n")
