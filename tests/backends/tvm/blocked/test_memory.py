"""No kernel touches anything outside its buffers: each runs between pages that nobody may touch, and under valgrind."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.backends.tvm.blocked.families import convolution
from edgecls.bundle import read_member
from edgecls.passes import optimize_graph
from edgecls.runtime.build import build_runner
from edgecls.targets import load_target
from edgecls.toolchain import find_toolchain
from edgecls.types import Artifact
from tests.backends.tvm.blocked.conftest import transform_on_device
from tests.backends.tvm.blocked.fixed import NETWORKS, blocks, linear, products
from tests.backends.tvm.blocked.transformers import NETWORKS as TRANSFORMERS
from tests.runtime_c import tiny

CASES = [pytest.param(name, marks=pytest.mark.slow if name in ("epilogues", "mixed") else ())
         for name in (*NETWORKS, "f2", "f4", "f6", "f2-device", "f4-device", "f6-device", "linear",
                      *(f"attention-{n}" for n in TRANSFORMERS))]
SMALL = ("small", "linear", "f4", "f4-device", "attention-plain", "attention-windows")


# AArch64's assembly, each kind of it
ASSEMBLY = ("windows", "small", "channels", "f2", "f4", "f6", "f2-device", "f4-device", "f6-device", "attention-plain",
            "attention-windows", "attention-products")


@pytest.fixture(scope="module")
def guards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str | Path, ...]]:
    """The command that runs guard.c, for each processor."""
    folder = tmp_path_factory.mktemp("guard")
    found: dict[str, tuple[str | Path, ...]] = {}
    for arch in ("x86_64", "aarch64"):
        program = tiny.compile_c(find_toolchain(arch).cc, folder / arch, [Path(__file__).with_name("guard.c")],
                                 "-Wno-conversion", "-ldl", f"-I{tiny.RUNTIME / 'include'}")
        libraries = f"/usr/{arch.replace('_', '-')}-linux-gnu"
        emulator = () if platform.machine() == arch else (f"qemu-{arch}", "-L", libraries)
        found[arch] = (*emulator, program)
    return found


def adapt(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """-device: kernels transform weights of Winograd; -half: half vectors, whatever the processor prefers."""
    if name.endswith("-device"):
        transform_on_device(monkeypatch)
    if name.endswith("-half"):
        monkeypatch.setattr(convolution, "halves", lambda cpu: True)


def compiled(name: str, target: str, folder: Path) -> Artifact:
    size = name = name.removesuffix("-device").removesuffix("-half")
    net = (linear() if name == "linear" else blocks() if name == "blocks" else NETWORKS[name]() if name in NETWORKS
           else products(size) if size in ("f2", "f4", "f6") else TRANSFORMERS[name.removeprefix("attention-")](1))
    options = CompileOptions(winograd=size if size in ("f2", "f4", "f6") else "off",
                             strassen="on" if name == "linear" else "auto")
    graph = optimize_graph(net.graph(), (11,) if name == "dense" else (1,))
    artifact = TvmBackend().compile(graph, load_target(target), options, folder / "m.ecls")
    for member in ("model.so", "weights.bin"):
        (folder / member).write_bytes(read_member(artifact, member))
    return artifact


@pytest.mark.parametrize(("name", "target"), [
    *(pytest.param(*case.values, "x86-64-avx2", marks=case.marks) for case in CASES),
    ("windows-half", "x86-64-avx2"), ("small-half", "x86-64-avx2"),
    # of this machine, whose registers may be wider
    *((name, "native") for name in ("windows-half", "small-half", "linear", "blocks", "f4",
                                    "attention-plain", "attention-products")),
    *((name, "raspberry-pi-4") for name in ASSEMBLY)])
def test_between_guard_pages(name: str, target: str, guards: dict[str, tuple[str | Path, ...]], tmp_path: Path,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    adapt(name, monkeypatch)
    artifact = compiled(name, target, tmp_path)
    for side in ("end", "start"):
        done = subprocess.run([*guards[load_target(target).cpu.arch], tmp_path / "model.so", tmp_path / "weights.bin",
                               artifact.manifest.symbol, side], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "done\n"), f"{side}: {done.stderr[-300:]}"


@pytest.mark.parametrize("name", [*SMALL, "small-half"])
def test_under_valgrind(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """valgrind knows no AVX-512. Undefined values that decide anything are found too."""
    adapt(name, monkeypatch)
    artifact = compiled(name, "x86-64-avx2", tmp_path)
    runner = build_runner("x86_64", find_toolchain("x86_64"))
    install = subprocess.run([runner, "--install", artifact.path, tmp_path / "to"], capture_output=True, text=True)
    assert install.returncode == 0, install.stderr
    done = subprocess.run(["valgrind", "-q", "--error-exitcode=9", runner, install.stdout.strip(), "--selftest"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
