"""Which kernels of a bundle execute the instructions of an inference? Counted under qemu, one thread, AArch64.

    python -m benchmarks.kernels BUNDLE [--kernel SUBSTRING...] [--top N]

The count is that of three inferences minus that of one, over two. Shares are of the whole inference.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.arm_mix import Mix, mix_of
from benchmarks.command_line import positive, run_main
from benchmarks.executed import blocks_of_one_run
from edgecls.bundle import open_bundle
from edgecls.types import Artifact


class Kernel(NamedTuple):
    """What all calls of a kernel in one inference execute; name: of a file for what is in no kernel."""

    name: str
    calls: int
    macs: int  # by the network's definition
    mix: Mix
    tile: str


def count_kernels(artifact: Artifact) -> list[Kernel]:
    """Of the smallest batch, those that execute most first."""
    manifest = artifact.manifest
    layers = [layer for layer in manifest.layers if layer.batch == manifest.batches[0]]
    calls = Counter(layer.kernel for layer in layers)
    tiles = {d.get("kernel"): d.get("tile") for d in manifest.decisions}
    found = [Kernel(name, calls[name], sum(layer.flops // 2 for layer in layers if layer.kernel == name),
                    mix_of(own), str(tiles.get(name) or "")) for name, own in blocks_of_one_run(artifact).items()]
    return sorted(found, key=lambda kernel: -kernel.mix.instructions)


def table(kernels: list[Kernel], substrings: list[str], top: int | None = None) -> str:
    whole = sum(kernel.mix.instructions for kernel in kernels)
    lines = [f"{'share':>6} {'calls':>5} {'M instr':>9} {'macs/instr':>10} {'FMA':>6} {'loads':>6} {'stores':>6} "
             f"{'spills':>9}  kernel, tile"]
    for kernel in [k for k in kernels if not substrings or any(s in k.name for s in substrings)][:top]:
        mix = kernel.mix
        count = max(mix.instructions, 1)
        lines.append(f"{count / whole:6.1%} {kernel.calls:5} {count / 1e6:9.3f} {kernel.macs / count:10.2f} "
                     f"{mix.fma_share:6.1%} {mix.loads / count:6.1%} {mix.stores / count:6.1%} {mix.spills:9}  "
                     f"{kernel.name} {kernel.tile}")
    macs, fmas = sum(k.macs for k in kernels), sum(k.mix.fmas for k in kernels)
    return "\n".join([*lines, f"whole inference: {whole / 1e6:.3f} M instructions, {macs / whole:.2f} multiply-adds "
                              f"each; {fmas / whole:.1%} vector FMAs"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kernel", metavar="SUBSTRING", action="append", default=[])
    parser.add_argument("--top", type=positive, metavar="N")
    args = parser.parse_args()
    print(table(count_kernels(open_bundle(args.bundle)), args.kernel, args.top))


if __name__ == "__main__":
    run_main(main)
