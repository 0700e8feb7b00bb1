"""Does the ARM binary of every network compute what ONNX Runtime does?

    python -m benchmarks.zoo_under_qemu [--models NAME...] [--onnx FOLDER] [-o benchmarks/results/zoo.json]

Each network is compiled, executed under qemu and compared with ONNX Runtime on three seeded random inputs. A bundle
that comes out as it was is not executed again, so an interrupted run goes on. VGG-16 comes last: emulation takes its
time.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import msgspec

from benchmarks.command_line import positive, run_main
from benchmarks.evidence import Column, Evidence, Row, runtime_hash, say
from benchmarks.models import LITE0, MODELS, add_onnx_option, model_file
from edgecls import pipeline
from edgecls.harness import compare_outputs
from edgecls.results import DivergenceResult
from edgecls.targets import load_target
from edgecls.types import Artifact

ARM64, ARMV7 = "raspberry-pi-4", "armv7"
ON_ARMV7 = (LITE0, "resnet18", "vit_tiny")
PAIRS = [*((name, ARM64) for name in (LITE0, *MODELS) if name != "vgg16"), *((name, ARMV7) for name in ON_ARMV7),
         ("vgg16", ARM64)]

_LEGEND = (
    "The binary of each network, executed under qemu-user, against ONNX Runtime on the unoptimised ONNX file, on three "
    "seeded standard-normal inputs. *Difference* is the largest absolute difference of the logits, divided by their "
    "range (largest minus smallest) for that input; it passes up to 1e-4.",
    "Weights are random from a fixed seed, with norms and BatchNorm statistics that are not trivial (see "
    "`benchmarks/models.py`): this is numeric parity, not accuracy. EfficientNet-Lite0 alone has its real "
    "ImageNet weights.",
)


def _seed(index: int) -> Column:
    return Column(f"seed {index}", lambda r: number(r["result"]["outputs"][index]["relative_difference"]))


_COLUMNS = (
    Column("network", lambda r: r["network"]),
    Column("target", lambda r: r["target"]),
    Column("executed on", lambda r: r["device"]),
    Column("kernel calls", lambda r: r["calls"]),
    _seed(0),
    _seed(1),
    _seed(2),
    Column("difference", lambda r: number(r["result"]["relative_difference"])),
    Column("passed", lambda r: "yes" if r["result"]["passed"] else "NO"),
    Column("bundle", lambda r: r["bundle"][:12]),
)


def compare_with_onnxruntime(model: Path, artifact: Artifact, threads: int = 1) -> tuple[DivergenceResult, Row]:
    """Three seeded inputs through `artifact`, emulated where its ISA is not this machine's, and through the oracle.

    Also what is to be said of the run: device, emulator, threads.
    """
    with pipeline.open_reference(model, artifact) as oracle, \
            pipeline.open_session(artifact, threads=threads) as session:
        facts = session.facts()
        return compare_outputs(session, oracle, progress=_progress), {
            "device": facts.name, "emulator": facts.emulator, "threads": threads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=(LITE0, *MODELS), default=(LITE0, *MODELS))
    parser.add_argument("--targets", nargs="+", metavar="NAME", choices=(ARM64, ARMV7), default=(ARM64, ARMV7))
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/zoo.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    evidence = Evidence(args.output, title="Numeric parity under emulation", legend=_LEGEND, columns=_COLUMNS,
                        identity=("network", "target"))
    chosen = [(n, t) for n, t in PAIRS if n in args.models and t in args.targets]
    for done, (name, target) in enumerate(chosen):
        say(f"[{done + 1}/{len(chosen)}] {name} for {target}")
        model = model_file(name, args.onnx)
        with tempfile.TemporaryDirectory(prefix="edgecls-zoo-") as folder:
            artifact = pipeline.compile_model(model, load_target(target), Path(folder) / "model.ecls")
            same = evidence.find(network=name, target=target, bundle=artifact.hash, runtime=runtime_hash())
            if same is not None:
                say("  the same bundle and runtime as before: not executed again")
                evidence.put(same)
                continue
            result, run = compare_with_onnxruntime(model, artifact, args.threads)
        evidence.put({"network": name, "target": target, **run, "bundle": artifact.hash, "runtime": runtime_hash(),
                      "onnx": artifact.manifest.exported, "calls": artifact.manifest.plans[0].calls,
                      "toolchain": artifact.manifest.toolchain, "result": msgspec.to_builtins(result)})
        say(f"  {number(result.relative_difference)} of the logit range: {'passed' if result.passed else 'FAILED'}")
    if not all(row["result"]["passed"] for row in evidence.rows):
        raise SystemExit(2)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def _progress(stage: str, done: int, total: int) -> None:
    say(f"  {stage}: {done} of {total}")


if __name__ == "__main__":
    run_main(main)
