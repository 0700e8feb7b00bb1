"""Is the ARM code of whole networks what it should be? Loops of products mostly FMAs, nothing spilled, nothing called.

    python -m benchmarks.arm_code [--models NAME...] [--target NAME] [--onnx FOLDER]
                                  [-o benchmarks/results/arm_code.json]

All code that an inference executes is looked at, as often as it is executed, under qemu. A bundle that comes out as it
was is not looked at again.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from elftools.elf.elffile import ELFFile

from benchmarks.arm_mix import Mix, mix_of
from benchmarks.command_line import run_main
from benchmarks.evidence import Column, Evidence, Row, runtime_hash, say
from benchmarks.executed import LIBRARY, blocks_of_one_run
from benchmarks.models import MODELS, add_onnx_option, compiled
from benchmarks.peers.dense import uses_weights_once
from benchmarks.peers.llvm_mca import hottest, model_blocks
from edgecls.bundle import read_member
from edgecls.devices import Block
from edgecls.errors import DataError, ToolchainError
from edgecls.targets import load_target
from edgecls.types import Artifact

_NETWORKS = ("mobilenet_v3_small", "mobilenet_v2", "resnet18", "resnet50", "vgg16", "vit_tiny", "deit_small",
             "swin_tiny", "convit_tiny", "coatnet_0")
_ELEMENT = re.compile(r"fmla v\d+\.4s, v\d+\.4s, v\d+\.s\[\d\]")
_STORE = re.compile(r"st[rpu1-4]")
_LEAST_PRODUCTS = 16
_HOTTEST, _CPU = 300, "cortex-a72"

_LEGEND = (
    "Every instruction that one inference executes in the model's own code (qemu, Cortex-A72, one thread). A *loop of "
    f"a product* is an innermost loop with at least {_LEAST_PRODUCTS} multiply-adds of a vector by an element. Most "
    "hold one step of a reduction and no store. Layers of one pixel (squeeze-excite, a classifier's last) multiply a "
    "matrix by a vector: each weight is loaded for one multiply-add, so their loops stand apart. So do loops with "
    "stores: where a reduction is short its whole tile is written out, with activation, residual addition and the "
    "stores of the results; Winograd's transforms of tiles are others.",
    "*Share*: vector multiply-adds among the instructions; executed ones of all loops, and of the loop with the least. "
    "*Spills*: executed loads and stores of whole vector registers to and from the stack. *Calls out*: functions that "
    "model.so takes from other libraries; memset clears parts of Winograd's workspaces. *Modelled cycles*: of the "
    f"{_HOTTEST} blocks that execute most, by llvm-mca, each as a loop around itself with all loads from the first "
    "cache. A model, not a measurement, and of straight code too few.",
)


class Loop(NamedTuple):
    """An innermost loop. first, last: offsets in model.so of its first and last instruction. mix: of all its turns."""

    kernel: str
    first: int
    last: int
    mix: Mix
    products: int
    stores: int

    @property
    def of_product(self) -> bool:
        return self.products >= _LEAST_PRODUCTS


def loops(executed: Mapping[str, Sequence[Block]], library: bytes) -> list[Loop]:
    """The innermost loops among `executed` blocks of `library`, the bytes of model.so, by kernel."""
    found = []
    for kernel, blocks in executed.items():
        own = [block for block in blocks if Path(block.file).name == LIBRARY]
        ends = [(target, place) for block in own
                if (target := branch_target(library, place := block.offset + 4 * (len(block.code) - 1))) is not None
                and target <= place]
        spans = sorted(set(ends))
        for first, last in spans:
            if any((first, last) != other and first <= other[0] and other[1] <= last for other in spans):
                continue
            inside = [block for block in own if first <= block.offset <= last]
            code = {block.offset + 4 * i: text for block in inside for i, text in enumerate(block.code)}.values()
            found.append(Loop(kernel, first, last, mix_of(inside), sum(bool(_ELEMENT.match(x)) for x in code),
                              sum(bool(_STORE.match(x)) for x in code)))
    return found


def branch_target(code: bytes, place: int) -> int | None:
    """Where the AArch64 instruction at offset `place` may jump to; None when it is no direct branch.

    Arm Architecture Reference Manual, C4.1.66: B, B.cond, CBZ and CBNZ, TBZ and TBNZ; offsets are signed words.
    """
    word = int.from_bytes(code[place:place + 4], "little")
    if word >> 26 == 0b000101:
        bits, shift = 26, 0
    elif word >> 24 == 0b01010100 or (word >> 25) & 0b111111 == 0b011010:
        bits, shift = 19, 5
    elif (word >> 25) & 0b111111 == 0b011011:
        bits, shift = 14, 5
    else:
        return None
    offset = (word >> shift) & ((1 << bits) - 1)
    return place + 4 * (offset - (offset >> (bits - 1) << bits))


def calls_out(library: bytes) -> list[str]:
    """Names of the functions that model.so takes from elsewhere."""
    symbols = ELFFile(io.BytesIO(library)).get_section_by_name(".dynsym").iter_symbols()
    return sorted(s.name for s in symbols if s["st_shndx"] == "SHN_UNDEF" and s.name)


def examine(artifact: Artifact) -> Row:
    library, executed = read_member(artifact, LIBRARY), blocks_of_one_run(artifact)
    kernels = {layer.kernel for layer in artifact.manifest.layers}
    vectors = {layer.kernel for layer in artifact.manifest.layers if layer.weight_bytes and uses_weights_once(layer)}
    whole = mix_of(block for own in executed.values() for block in own)
    found = [loop for loop in loops({k: b for k, b in executed.items() if k in kernels}, library) if loop.of_product]
    return {"kernels": len(kernels), "instructions": whole.instructions,
            "reductions": _summed([loop for loop in found if not loop.stores and loop.kernel not in vectors]),
            "vectors": _summed([loop for loop in found if not loop.stores and loop.kernel in vectors]),
            "tiles": _summed([loop for loop in found if loop.stores]),
            "modelled": _modelled(artifact, executed),
            "spills": sum(mix_of(executed[k]).spills for k in kernels & executed.keys()),
            "calls_out": calls_out(library)}


def _modelled(artifact: Artifact, executed: dict[str, list[Block]]) -> Row | None:
    """Cycles of the blocks that execute most; None without LLVM's tools."""
    blocks = hottest(executed, [], _HOTTEST)
    try:
        found = model_blocks(artifact, blocks, artifact.manifest.target.qemu_cpu or _CPU)
    except ToolchainError as error:
        say(f"  no modelled cycles: {error.message}")
        return None
    return {"cycles": sum(b.block.executed * b.cycles for b in found),
            "instructions": sum(b.block.executed * b.mix.instructions for b in found)}


def _summed(found: Sequence[Loop]) -> Row:
    total = Mix(*map(sum, zip(*(loop.mix for loop in found), strict=True))) if found else Mix()
    least = min(found, key=lambda loop: loop.mix.fma_share, default=None)
    return {"loops": len(found), "instructions": total.instructions, "fmas": total.fmas,
            "least": least and {"kernel": least.kernel, "share": least.mix.fma_share}}


def _cells(kind: str, title: str) -> Iterable[Column]:
    def shares(row: Row) -> str:
        group = row[kind]
        if not group["loops"]:
            return "–"
        return f"{group['fmas'] / group['instructions']:.1%}, {group['least']['share']:.1%}"

    yield Column(f"{title}: number", lambda r: r[kind]["loops"])
    yield Column("of all instructions", lambda r: f"{r[kind]['instructions'] / r['instructions']:.0%}")
    yield Column("share: all, least", shares)


def _modelled_cell(row: Row) -> str:
    found = row["modelled"]
    return "–" if found is None else (
        f"{found['cycles'] / 1e6:.1f}, of {found['instructions'] / row['instructions']:.0%} of the instructions")


_COLUMNS = (
    Column("network", lambda r: r["network"]),
    Column("kernels", lambda r: r["kernels"]),
    *_cells("reductions", "loops of products"),
    *_cells("vectors", "of a matrix and a vector"),
    *_cells("tiles", "with stores"),
    Column("modelled cycles, million", _modelled_cell),
    Column("spills", lambda r: r["spills"]),
    Column("calls out", lambda r: ", ".join(r["calls_out"]) or "none"),
    Column("bundle", lambda r: r["bundle"][:12]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=tuple(MODELS), default=_NETWORKS)
    parser.add_argument("--target", metavar="NAME", default="raspberry-pi-4")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/arm_code.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    if load_target(args.target).cpu.arch != "aarch64":
        raise DataError(f"target {args.target} is no AArch64", "choose one that is, as raspberry-pi-4")
    evidence = Evidence(args.output, title="The ARM code of whole networks", legend=_LEGEND, columns=_COLUMNS,
                        identity=("network", "target"))
    for name, artifact in compiled(args.models, args.target, args.onnx):
        known = {"network": name, "target": args.target, "bundle": artifact.hash, "runtime": runtime_hash()}
        same = evidence.find(**known)
        row = same or {**known, **examine(artifact)}
        evidence.put(row)
        say(f"  {row['spills']} spills; calls out: {', '.join(row['calls_out']) or 'none'}"
            + ("; as it was: not looked at again" if same else ""))


if __name__ == "__main__":
    run_main(main)
