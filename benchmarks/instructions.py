"""Executed instructions per inference of the ARM binary, counted under qemu.

    python -m benchmarks.instructions [--models NAME...] [--target NAME] [--onnx FOLDER]
                                      [-o benchmarks/results/instructions.json]

A bundle that comes out as it was is not counted again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from benchmarks.command_line import run_main
from benchmarks.evidence import Column, Evidence, runtime_hash, say
from benchmarks.models import LITE0, MODELS, add_onnx_option, compiled
from edgecls import pipeline
from edgecls.results import InstructionResult

_LEGEND = (
    "What `edgecls bench` counts under qemu: instructions of five inferences minus those of one, over four; batch 1, "
    "one thread. They repeat to a few in a million on any machine. **They are not times:** two programs with equal "
    "counts may take different time on a board.",
)
_COLUMNS = (
    Column("network", lambda r: r["network"]),
    Column("target", lambda r: r["target"]),
    Column("counted on", lambda r: r["result"]["conditions"]["before"]["name"]),
    Column("instructions per inference, million", lambda r: f"{r['result']['instructions_per_inference'] / 1e6:,.1f}"),
    Column("valid", lambda r: "yes" if r["result"]["valid"] else "; ".join(r["result"]["reasons"])),
    Column("bundle", lambda r: r["bundle"][:12]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=(LITE0, *MODELS),
                        default=(LITE0, "mobilenet_v3_small", "mobilenet_v2", "resnet18"))
    parser.add_argument("--target", metavar="NAME", default="raspberry-pi-4")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/instructions.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    evidence = Evidence(args.output, title="Instructions per inference", legend=_LEGEND, columns=_COLUMNS,
                        identity=("network", "target"))
    for name, artifact in compiled(args.models, args.target, args.onnx):
        known = {"network": name, "target": args.target, "bundle": artifact.hash, "runtime": runtime_hash()}
        same = evidence.find(**known)
        if same is not None:
            say("  the same bundle and runtime as before: not counted again")
            evidence.put(same)
            continue
        result = pipeline.bench(artifact.path, device="qemu")
        assert isinstance(result, InstructionResult)
        evidence.put({**known, "onnx": artifact.manifest.exported, "toolchain": artifact.manifest.toolchain,
                      "result": msgspec.to_builtins(result)})
        say(f"  {result.instructions_per_inference:,}")


if __name__ == "__main__":
    run_main(main)
