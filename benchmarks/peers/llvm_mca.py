"""Modelled cycles of the blocks of code that a bundle spends its instructions in. A model, not a measurement.

    python -m benchmarks.peers.llvm_mca BUNDLE [--kernel SUBSTRING...] [--top N] [--cpu NAME]

One inference under qemu tells which blocks are executed how often; llvm-mca models each of them as a loop around
itself, with every load in L1. So an inner loop's cycles are those of a perfect cache, and those of straight code are
too few.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.arm_mix import Mix, mix_of
from benchmarks.command_line import positive, run_main
from benchmarks.executed import LIBRARY, blocks_of_one_run
from edgecls.bundle import open_bundle, read_member
from edgecls.devices import Block
from edgecls.errors import ToolchainError
from edgecls.types import Artifact

_TRIPLE = "-mtriple=aarch64"
_ITERATIONS = 200


class Modelled(NamedTuple):
    """mix: of one pass through the block; cycles: modelled, of one pass when it is repeated."""

    kernel: str
    block: Block
    mix: Mix
    cycles: float


def hottest(executed: dict[str, list[Block]], substrings: Sequence[str], top: int) -> list[tuple[str, Block]]:
    """The `top` blocks of the model's own code that execute most instructions, with their kernels."""
    blocks = [(kernel, block) for kernel, own in executed.items() for block in own
              if block.file.endswith(f"/{LIBRARY}") and (not substrings or any(s in kernel for s in substrings))]
    return sorted(blocks, key=lambda pair: -pair[1].executed * len(pair[1].code))[:top]


def model_blocks(artifact: Artifact, blocks: Sequence[tuple[str, Block]], cpu: str) -> list[Modelled]:
    """Raises ToolchainError when LLVM's tools are missing or fail."""
    library = read_member(artifact, LIBRARY)
    regions = []
    for number, (_, block) in enumerate(blocks):
        text = disassemble(library[block.offset:block.offset + 4 * len(block.code)])
        regions.append(f"# LLVM-MCA-BEGIN {number}\n{text}\n# LLVM-MCA-END {number}\n")
    cycles = model("".join(regions), cpu)
    return [Modelled(kernel, block, mix_of([block._replace(executed=1)]), cycles[str(number)])
            for number, (kernel, block) in enumerate(blocks)]


def disassemble(code: bytes) -> str:
    """Text that the assembler takes back; the emulator's has absolute addresses."""
    lines = _tool("llvm-mc", ["-disassemble", "-triple=aarch64"], " ".join(f"0x{byte:02x}" for byte in code))
    return "\n".join(line for line in lines.splitlines() if not line.strip().startswith("."))


def model(regions: str, cpu: str) -> dict[str, float]:
    """Name of a region -> cycles of one iteration."""
    said = _tool("llvm-mca", [_TRIPLE, f"-mcpu={cpu}", f"-iterations={_ITERATIONS}", "-json"], regions)
    return {region["Name"]: region["SummaryView"]["TotalCycles"] / _ITERATIONS
            for region in json.loads(said)["CodeRegions"]}


def table(blocks: Sequence[Modelled], whole: int) -> str:
    """whole: instructions of the inference."""
    lines = [f"{'share':>6} {'passes':>9} {'instr':>5} {'FMAs':>4} {'FMA':>5} {'loads':>5} {'modelled cycles':>15} "
             f"{'FMAs/cycle':>10}  kernel, offset"]
    for kernel, block, mix, cycles in blocks:
        lines.append(f"{block.executed * mix.instructions / whole:6.1%} {block.executed:9} {mix.instructions:5} "
                     f"{mix.fmas:4} {mix.fma_share:5.0%} {mix.loads:5} {cycles:15.2f} {mix.fmas / cycles:10.2f}  "
                     f"{kernel} {block.offset:#x}")
    covered = sum(b.block.executed * b.mix.instructions for b in blocks)
    cycles = sum(b.block.executed * b.cycles for b in blocks)
    return "\n".join([*lines, f"these blocks: {covered / whole:.1%} of the instructions, {cycles / 1e6:.2f} M modelled "
                              "cycles per inference (all loads from L1)"])


def _tool(name: str, arguments: Sequence[str], given: str) -> str:
    program = shutil.which(name) or next(
        (found for version in range(30, 13, -1) if (found := shutil.which(f"{name}-{version}"))), None)
    if program is None:
        raise ToolchainError(f"{name} is not installed", "run: apt install llvm")
    done = subprocess.run([program, *arguments], input=given, capture_output=True, text=True)
    if done.returncode:
        raise ToolchainError(f"{name} failed: {done.stderr.strip()[-300:]}", "use another version of LLVM")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kernel", metavar="SUBSTRING", action="append", default=[])
    parser.add_argument("--top", type=positive, metavar="N", default=20)
    parser.add_argument("--cpu", metavar="NAME", default="cortex-a72", help="default: %(default)s")
    args = parser.parse_args()
    artifact = open_bundle(args.bundle)
    executed = blocks_of_one_run(artifact)
    whole = mix_of(block for own in executed.values() for block in own).instructions
    blocks = model_blocks(artifact, hottest(executed, args.kernel, args.top), args.cpu)
    print(f"modelled by llvm-mca for {args.cpu}, not measured")
    print(table(blocks, whole))


if __name__ == "__main__":
    run_main(main)
