"""Importing TVM, lazily and only in the version pair that works together."""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

from edgecls.errors import MissingExtraError, ToolchainError
from edgecls.types import Target

TVM_VERSION = "0.27.0.post1"
FFI_VERSION = "0.1.14.post1"

_TRIPLES = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu", "armv7": "armv7l-linux-gnueabihf"}
_ARM32_ABI = {"mattr": ["+neon", "+vfp4"], "mfloat-abi": "hard"}


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
    """TVM's description of `target`: LLVM code for exactly this CPU."""
    tvm = import_tvm()
    cpu = target.cpu
    fields: dict[str, Any] = {"kind": "llvm", "mtriple": _TRIPLES[cpu.arch], "mcpu": cpu.name, "num-cores": cpu.cores}
    if cpu.arch == "armv7":
        fields |= _ARM32_ABI
    try:
        return tvm.target.Target(fields)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ToolchainError(f"TVM does not know the CPU of target {target.name}: {str(error).splitlines()[-1]}",
                             "check cpu.name and cpu.arch in the target file") from None
