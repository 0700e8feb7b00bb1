"""Importing TVM, lazily and only in the version pair that works together."""

from __future__ import annotations

import difflib
import importlib.metadata
import os
from typing import Any

from edgecls.errors import MissingExtraError, TargetError, ToolchainError
from edgecls.types import Arch, Cpu, Target

TVM_VERSION = "0.27.0.post1"
FFI_VERSION = "0.1.14.post1"

_TRIPLES: dict[Arch, str] = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu",
                             "armv7": "armv7l-linux-gnueabihf"}
# feature word -> (LLVM's attribute that grants it, the one whose removal takes it with all that builds on it)
_ATTRIBUTES: dict[Arch, dict[str, tuple[str, str]]] = {
    "x86_64": {word: (word, word) for word in ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl",
                                               "avx512vnni")},
    "aarch64": {"neon": ("neon", "neon"), "fp16": ("fullfp16", "fullfp16"), "dotprod": ("dotprod", "dotprod"),
                "i8mm": ("i8mm", "i8mm"), "sve": ("sve", "sve"), "crc": ("crc", "crc"), "lse": ("lse", "lse")},
    "armv7": {"neon": ("neon", "neon"), "vfpv4": ("vfp4", "vfp4d16sp")},
}
# what the C beside the kernels is compiled for, whatever a target file says
_FLOOR: dict[Arch, frozenset[str]] = {"x86_64": frozenset(), "aarch64": frozenset({"neon"}),
                                      "armv7": frozenset({"neon"})}
# LLVM's attributes of a CPU that runs the ISA at all: its list for x86-64 begins with the i386
_ISA: dict[Arch, frozenset[str]] = {"x86_64": frozenset({"64bit"}), "aarch64": frozenset({"fp-armv8"}),
                                    "armv7": frozenset({"v7", "aclass"})}


def import_tvm() -> Any:
    """The tvm package. Raises MissingExtraError, or ToolchainError for a pair of versions known to crash."""
    # without this, importing tvm loads torch, or compiles a bridge to it
    os.environ.setdefault("TVM_FFI_DISABLE_TORCH_C_DLPACK", "1")
    try:
        import tvm
    except ImportError as error:
        raise MissingExtraError(f"TVM cannot be imported: {error}",
                                f"run: pip install apache-tvm=={TVM_VERSION} apache-tvm-ffi=={FFI_VERSION}") from None
    found = tvm_versions()
    if found != (TVM_VERSION, FFI_VERSION):
        raise ToolchainError(f"apache-tvm {found[0]} with apache-tvm-ffi {found[1]} is not the tested pair",
                             f"run: pip install apache-tvm=={TVM_VERSION} apache-tvm-ffi=={FFI_VERSION}")
    return tvm


def tvm_versions() -> tuple[str, str]:
    return importlib.metadata.version("apache-tvm"), importlib.metadata.version("apache-tvm-ffi")


def tvm_target(target: Target) -> Any:
    """TVM's description of `target`: LLVM code for exactly this CPU, with the ISA features of its list and no other.

    Raises TargetError for a CPU that LLVM does not know, or whose features cannot be what the list says.
    """
    tvm = import_tvm()
    cpu = target.cpu
    _check_cpu(target)
    granted = [on for word, (on, _) in _ATTRIBUTES[cpu.arch].items() if word in cpu.features]
    removed = [off for word, (_, off) in _ATTRIBUTES[cpu.arch].items() if word not in cpu.features]
    # removals last: what a granted attribute implies is not granted by that
    fields = _fields(cpu) | {"mcpu": cpu.name, "num-cores": cpu.cores,
                             "mattr": [*(f"+{a}" for a in granted), *(f"-{a}" for a in removed)]}
    try:
        llvm = tvm.target.Target(fields)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ToolchainError(f"TVM does not accept the CPU of target {target.name}: {str(error).splitlines()[-1]}",
                             "check cpu.name and cpu.arch in the target file") from None
    stuck = sorted(set(removed) & llvm_features(llvm))
    if stuck:
        raise TargetError(f"target {target.name}: cpu.name: {cpu.name!r} always has {', '.join(stuck)}, "
                          "which cpu.features does not list", "name an older CPU, or add the features")
    return llvm


def llvm_features(llvm: Any) -> frozenset[str]:
    """LLVM's words for all that code for a TVM target may use."""
    from tvm.target import codegen

    return frozenset(map(str, codegen.llvm_get_cpu_features(llvm)))


def _check_cpu(target: Target) -> None:
    """LLVM itself would compile an unknown CPU as the oldest one, and end the process for one of another ISA."""
    tvm = import_tvm()
    from tvm.target import codegen

    cpu = target.cpu
    known = sorted(map(str, codegen.llvm_get_cpu_archlist(tvm.target.Target(_fields(cpu)))))
    if cpu.name not in known:
        close = difflib.get_close_matches(cpu.name.lower(), known, n=3)
        raise TargetError(f"target {target.name}: cpu.name: LLVM knows no {cpu.arch} CPU {cpu.name!r}",
                          f"use {' or '.join(close)}" if close else f"use one of: {', '.join(known)}")
    if not _ISA[cpu.arch] <= llvm_features(tvm.target.Target(_fields(cpu) | {"mcpu": cpu.name})):
        raise TargetError(f"target {target.name}: cpu.name: {cpu.name!r} does not run {cpu.arch} code",
                          "correct cpu.name or cpu.arch in the target file")
    missing = _FLOOR[cpu.arch] - set(cpu.features)
    if missing:
        raise TargetError(f"target {target.name}: cpu.features: without {', '.join(sorted(missing))} no {cpu.arch} "
                          "code can be made", "add it, or choose another target")


def _fields(cpu: Cpu) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": "llvm", "mtriple": _TRIPLES[cpu.arch]}
    return fields | {"mfloat-abi": "hard"} if cpu.arch == "armv7" else fields
