"""What a Linux machine says of itself: one reading of /proc and /sys, used on this machine and over ssh."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Mapping
from pathlib import Path

from edgecls.types import DeviceFacts

FILES = ("/proc/cpuinfo", "/proc/meminfo", "/proc/loadavg", "/proc/sys/kernel/osrelease", "/etc/os-release",
         "/proc/device-tree/model", "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
         "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor", "/sys/class/thermal/thermal_zone[0-9]*/temp")
"""Patterns of what is read; every one may be absent."""
MAX_BYTES = 1 << 18


def read_here() -> dict[str, str]:
    """The readable FILES of this machine, path -> text."""
    found = {}
    for path in (path for pattern in FILES for path in Path("/").glob(pattern.lstrip("/"))):
        try:
            with path.open("rb") as file:
                found[str(path)] = file.read(MAX_BYTES).decode(errors="replace")
        except OSError:
            pass
    return found


def libc_here() -> str | None:
    """As "glibc 2.36"; None for another C library."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):
        return None


def make_facts(name: str, machine: str, files: Mapping[str, str], libc: str | None) -> DeviceFacts:
    """DeviceFacts of a real machine. Whatever is missing or not as expected becomes None."""
    cpuinfo = files.get("/proc/cpuinfo", "")
    memory = files.get("/proc/meminfo", "")
    governors = {text.strip() for text in _matching(files, "*/scaling_governor")}
    clocks = [khz / 1000 for text in _matching(files, "*/scaling_cur_freq") if (khz := _number(text)) is not None]
    if not clocks:
        clocks = [mhz for text in re.findall(r"^cpu MHz\s*:(.*)$", cpuinfo, re.MULTILINE)
                  if (mhz := _number(text)) is not None]
    zones = [milli / 1000 for text in _matching(files, "*/temp")
             if (milli := _number(text)) is not None and -60_000 < milli < 200_000]
    return DeviceFacts(
        name=name, machine=_short(machine) or "unknown", emulated=False,
        cpu_model=_short(files.get("/proc/device-tree/model", "")) or _field(cpuinfo, "model name"),
        cores=len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE)) or None,
        kernel=_short(files.get("/proc/sys/kernel/osrelease", "")),
        os=_field(files.get("/etc/os-release", ""), "PRETTY_NAME", "="),
        libc=_short(libc or ""),
        governor=_short(", ".join(sorted(governors))),
        clocks_mhz=tuple(clocks) or None,
        temperature_c=max(zones, default=None),
        load=_number(files.get("/proc/loadavg", "")),
        memory_total_mb=_megabytes(memory, "MemTotal"), memory_free_mb=_megabytes(memory, "MemAvailable"))


def _matching(files: Mapping[str, str], pattern: str) -> list[str]:
    """Texts of the files that match, in the order of the numbers in their paths."""
    paths = [path for path in files if fnmatch.fnmatch(path, pattern)]
    return [files[path] for path in sorted(paths, key=lambda path: [int(n) for n in re.findall(r"\d+", path)])]


def _field(text: str, key: str, separator: str = ":") -> str | None:
    match = re.search(rf"^{key}\s*{separator}(.*)$", text, re.MULTILINE)
    return _short(match[1].strip().strip('"')) if match else None


def _megabytes(meminfo: str, key: str) -> int | None:
    kilobytes = _number(_field(meminfo, key) or "")
    return None if kilobytes is None else int(kilobytes) // 1024


def _number(text: str) -> float | None:
    match = re.match(r"\s*(-?\d{1,15}(?:\.\d{1,9})?)", text, re.ASCII)
    return float(match[1]) if match else None


def _short(text: str) -> str | None:
    """One line of printable text, at most 200 characters; None when nothing is left."""
    return "".join(c for c in text.strip("\0 \n\t") if c.isprintable())[:200] or None
