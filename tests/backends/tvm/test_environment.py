"""cpu.name and cpu.features of a target file decide which instructions a model has."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.backends.tvm.environment import _ATTRIBUTES, llvm_features, tvm_target
from edgecls.bundle import open_bundle, read_member
from edgecls.errors import TargetError
from edgecls.passes import optimize_graph
from edgecls.targets import list_targets, load_target
from edgecls.targets.features import ARCH_FEATURES
from edgecls.types import Target
from tests.models import MODELS

OBJDUMP = {"x86_64": "objdump", "aarch64": "aarch64-linux-gnu-objdump", "armv7": "arm-linux-gnueabihf-objdump"}


def with_cpu(target: str, **changes: object) -> Target:
    board = load_target(target)
    return msgspec.structs.replace(board, cpu=msgspec.structs.replace(board.cpu, **changes))


def instructions(target: Target, folder: Path) -> str:
    """Disassembly of a small classifier."""
    graph = optimize_graph(MODELS["classifier"](), (1,))
    artifact = TvmBackend().compile(graph, target, CompileOptions(), folder / "model.ecls")
    (folder / "model.so").write_bytes(read_member(open_bundle(artifact.path), "model.so"))
    return subprocess.run([OBJDUMP[target.cpu.arch], "-d", "--no-show-raw-insn", folder / "model.so"],
                          capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("target", "changes", "has", "lacks"), [
    ("x86-64-avx512", {}, r"%zmm|%[xy]mm(1[6-9]|[23]\d)", "nothing"),
    ("x86-64-avx512", {"features": ("avx2", "fma")}, r"%ymm.*|vfmadd", r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|[23]\d)"),
    ("x86-64-avx2", {"features": ("avx2",)}, "%ymm", "vfmadd"),
    # LLVM holds VFPv4's fused instructions of the Cortex-A7 for slow and makes none, whatever its list says
    ("armv7", {"name": "cortex-a53"}, r"vfma\.f32", "nothing"),
    ("armv7", {"name": "cortex-a53", "features": ("neon",)}, r"vmul\.f32", r"vfm[as]|vfnm[as]"),
    ("armv7", {"name": "cortex-a9", "features": ("neon",)}, r"vmul\.f32", r"vfm[as]|vfnm[as]"),
    ("raspberry-pi-5", {"features": ("neon",)}, r"fmla", r"\.[48]h\b.*fml|\bsdot|\bldadd"),
])
def test_code_uses_the_features_of_the_list_alone(target, changes, has, lacks, tmp_path) -> None:
    text = instructions(with_cpu(target, **changes), tmp_path)
    assert re.search(has, text)
    assert not re.search(lacks, text)


def test_the_table_has_every_word_of_a_target_file() -> None:
    assert {arch: frozenset(words) for arch, words in _ATTRIBUTES.items()} == ARCH_FEATURES


@pytest.mark.parametrize("target", list_targets(), ids=lambda t: t.name)
def test_shipped_targets_get_all_that_llvm_knows_of_their_cpu(target: Target) -> None:
    """Their lists are complete: nothing is switched off, so code is that of the CPU's name."""
    import tvm

    llvm = tvm_target(target)
    plain = {"kind": "llvm", "mtriple": str(llvm.attrs["mtriple"]), "mcpu": target.cpu.name}
    assert llvm_features(llvm) == llvm_features(tvm.target.Target(plain))


def test_each_word_can_be_taken_away() -> None:
    for target, name in (("x86-64-avx512", "sapphirerapids"), ("aarch64", "neoverse-v2"), ("armv7", "cortex-a53")):
        arch = load_target(target).cpu.arch
        for word in sorted(ARCH_FEATURES[arch] - {"neon"}):
            rest = tuple(sorted(ARCH_FEATURES[arch] - {word}))
            left = llvm_features(tvm_target(with_cpu(target, name=name, features=rest)))
            assert not left & set(_ATTRIBUTES[arch][word]), word


@pytest.mark.parametrize(("target", "changes", "said", "hint"), [
    ("raspberry-pi-4", {"name": "cortex-a27"}, "cpu.name: LLVM knows no aarch64 CPU 'cortex-a27'", "cortex-a7"),
    ("x86-64-avx2", {"name": "Haswel"}, "'Haswel'", "haswell"),
    ("armv7", {"name": "qqqq"}, "'qqqq'", "cortex-a7, "),
    ("x86-64-avx2", {"name": "i386"}, "'i386' does not run x86_64 code", "cpu.arch"),
    ("armv7", {"name": "cortex-m4"}, "'cortex-m4' does not run armv7 code", "cpu.arch"),
    ("armv7", {"features": ()}, "cpu.features: without neon", "add it"),
    ("aarch64", {"features": ()}, "cpu.features: without neon", "add it"),
])
def test_what_cannot_be_compiled_for_is_refused(target, changes, said, hint, tmp_path, capfd) -> None:
    graph = optimize_graph(MODELS["two_inputs"](), (1,))
    board = with_cpu(target, **changes)
    with pytest.raises(TargetError) as caught:
        TvmBackend().compile(graph, board, CompileOptions(), tmp_path / "out.ecls")
    assert said in caught.value.message and hint in caught.value.hint
    with pytest.raises(TargetError):
        TvmBackend().check(graph, board)
    assert capfd.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []
