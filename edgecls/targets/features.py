"""ISA features: the words of target files, their bits in the descriptor, and what the kernel calls them."""

from __future__ import annotations

from collections.abc import Iterable

from edgecls.errors import TargetError
from edgecls.types import Arch

_X86 = {"avx2": 0, "fma": 1, "avx512f": 2, "avx512bw": 3, "avx512dq": 4, "avx512vl": 5, "avx512vnni": 6, "f16c": 7}
_ARM = {"neon": 16, "vfpv4": 17, "fp16": 18, "dotprod": 19, "i8mm": 20, "sve": 21, "crc": 22, "lse": 23}

FEATURES: dict[str, int] = {name: 1 << bit for name, bit in (_X86 | _ARM).items()}
"""Feature word -> its EC_FEATURE_* bit in ec_model.h."""

ARCH_FEATURES: dict[Arch, frozenset[str]] = {
    "x86_64": frozenset(_X86),
    "aarch64": frozenset(_ARM) - {"vfpv4"},  # part of the base instruction set there
    "armv7": frozenset({"neon", "vfpv4"}),
}
"""The features a target of each ISA may name."""

_CPUINFO: dict[Arch, dict[str, str]] = {
    "x86_64": {"avx512_vnni": "avx512vnni"} | {name: name for name in _X86 if name != "avx512vnni"},
    "aarch64": {"asimd": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm", "sve": "sve",
                "crc32": "crc", "atomics": "lse"},
    "armv7": {"neon": "neon", "vfpv4": "vfpv4"},
}


def feature_mask(features: Iterable[str]) -> int:
    """The features' EC_FEATURE_* bits. Raises TargetError for a word that is not in FEATURES."""
    mask = 0
    for feature in features:
        if feature not in FEATURES:
            raise TargetError(f"unknown ISA feature '{feature}'", f"use some of: {', '.join(FEATURES)}")
        mask |= FEATURES[feature]
    return mask


def features_of_cpuinfo(text: str, arch: Arch) -> tuple[str, ...]:
    """The FEATURES that every core of a /proc/cpuinfo has, in the order of FEATURES."""
    cores = [set(line.partition(":")[2].split()) for line in text.splitlines()
             if line.partition(":")[0].strip() in ("flags", "Features")]
    common = set.intersection(*cores) if cores else set()
    found = {word for flag, word in _CPUINFO[arch].items() if flag in common}
    return tuple(name for name in FEATURES if name in found)
