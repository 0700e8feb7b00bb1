"""Which kernels of a bundle execute the instructions? Counted one by one under qemu, one thread.

    python -m benchmarks.kernels BUNDLE [--kernel SUBSTRING...] [--top N]

A count is that of three calls minus that of one, over two. Shares are of the kernels that were asked for.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.evidence import say
from edgecls.bundle import open_bundle
from edgecls.devices import QemuDevice
from edgecls.runtime.build import build_runner
from edgecls.toolchain import find_toolchain
from edgecls.types import Artifact


class Kernel(NamedTuple):
    name: str
    calls: int
    instructions: int  # of one call
    macs: int  # of one call
    decision: str

    @property
    def total(self) -> int:
        return self.calls * self.instructions


def count_kernels(artifact: Artifact, substrings: list[str]) -> list[Kernel]:
    """The kernels of the smallest batch whose names contain any of `substrings` (all when there is none)."""
    manifest = artifact.manifest
    layers = [layer for layer in manifest.layers if layer.batch == manifest.batches[0]]
    calls, macs = Counter(layer.kernel for layer in layers), {layer.kernel: layer.flops // 2 for layer in layers}
    decisions = {d.get("kernel"): d for d in manifest.decisions}
    chosen = [name for name in calls if not substrings or any(s in name for s in substrings)]
    arch = manifest.target.cpu.arch
    runner = build_runner(arch, find_toolchain(arch, glibc=manifest.target.os.glibc))
    found = []
    with QemuDevice(manifest.target) as device:
        folder = device.push({"ec_run": runner, "model.ecls": artifact.path})
        installed = _install(device, folder)
        for done, name in enumerate(chosen):
            say(f"[{done + 1}/{len(chosen)}] {name}")
            once, thrice = (device.count_instructions(
                [f"{folder}/ec_run", installed, "--trust", "--batch", str(manifest.batches[0]), "--kernel", name,
                 "--warmup", "0", "--runs", runs]) for runs in ("1", "3"))
            tile = decisions.get(name, {}).get("tile", "")
            found.append(Kernel(name, calls[name], (thrice - once) // 2, macs[name], str(tile)))
    return sorted(found, key=lambda kernel: -kernel.total)


def table(kernels: list[Kernel], top: int | None = None) -> str:
    whole = sum(kernel.total for kernel in kernels)
    lines = [f"{'share':>6} {'calls':>5} {'M instr/call':>12} {'macs/instr':>10}  kernel, tile"]
    lines += [f"{k.total / whole:6.1%} {k.calls:5} {k.instructions / 1e6:12.3f} {k.macs / max(k.instructions, 1):10.2f}"
              f"  {k.name} {k.decision}" for k in kernels[:top]]
    macs = sum(kernel.calls * kernel.macs for kernel in kernels)
    return "\n".join([*lines, f"total {whole / 1e6:.3f} M instructions, {macs / whole:.2f} multiply-adds each"])


def _install(device: QemuDevice, folder: str) -> str:
    process = device.start([f"{folder}/ec_run", "--install", f"{folder}/model.ecls", f"{folder}/installed"])
    try:
        path = process.stdout.read().decode().strip()
        if process.wait(60):
            raise SystemExit(process.errors())
        return path
    finally:
        process.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kernel", metavar="SUBSTRING", action="append", default=[])
    parser.add_argument("--top", type=int, metavar="N")
    args = parser.parse_args()
    print(table(count_kernels(open_bundle(args.bundle), args.kernel), args.top))


if __name__ == "__main__":
    main()
