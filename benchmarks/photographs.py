"""Does the device classify real photographs as ONNX Runtime does, with every thread count, to the same bits?

    python -m benchmarks.photographs [--targets NAME...] [--onnx FOLDER] [-o benchmarks/results/photographs.json]

EfficientNet-Lite0 with its ImageNet weights, on the 20 labelled photographs of the package foolbox (edgecls[demo]). The
photographs go to the device as decoded pixels: resizing, cropping and normalising happen there, in C.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec

from benchmarks.command_line import run_main
from benchmarks.evidence import Column, Evidence, Row, runtime_hash, say
from benchmarks.models import LITE0, add_onnx_option, model_file
from benchmarks.zoo_under_qemu import number
from edgecls import pipeline
from edgecls.cli.demo import photographs_csv
from edgecls.harness import Dataset, load_dataset, validate_accuracy
from edgecls.interfaces import Progress, Session, silent
from edgecls.results import AccuracyResult
from edgecls.targets import load_target
from edgecls.types import Array, Artifact, Gate, Pixels

TARGETS = ("native", "raspberry-pi-4", "raspberry-pi-5", "armv7")
THREADS = (1, 2, 4)
GATE = Gate(min_top1=18 / 20, min_agreement=1.0, max_relative_logit_difference=1e-4)

_LEGEND = (
    "EfficientNet-Lite0 with its real ImageNet weights on the 20 labelled photographs of the package foolbox. They go "
    "to the device as decoded pixels and are resized, cropped and normalised there, in C. *Agreement*: photographs "
    "with the top-1 class of ONNX Runtime, whose tensors come from edgecls's preprocessing in Python. *Difference*: "
    "the largest absolute difference of a photograph's logits divided by their range, of the worst photograph.",
    "A row passes with 18 correct, full agreement and a difference of up to 1e-4. *Logits* is the start of the SHA-256 "
    "of all 20 x 1000 logits: equal hashes mean equal bits. Thread counts of one target must agree; targets need not.",
)
_COLUMNS = (
    Column("target", lambda r: r["target"]),
    Column("executed on", lambda r: r["device"]["name"]),
    Column("threads", lambda r: r["threads"]),
    Column("top-1", lambda r: f"{r['metrics']['top1_correct']} of {r['metrics']['images']}"),
    Column("top-5", lambda r: f"{r['metrics']['top5_correct']} of {r['metrics']['images']}"),
    Column("agreement", lambda r: f"{round(r['agreement'] * r['metrics']['images'])} of {r['metrics']['images']}"),
    Column("difference", lambda r: number(r["relative_logit_difference"])),
    Column("logits", lambda r: r["logits_sha256"][:12]),
    Column("passed", lambda r: "yes" if r["gate"]["passed"] else "NO"),
)


class Hashed:
    """A Session that remembers the SHA-256 of all it answered."""

    def __init__(self, session: Session) -> None:
        self._session, self._digest = session, hashlib.sha256()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, feed: Mapping[str, Array | Pixels | Sequence[Pixels]]) -> dict[str, Array]:
        outputs = self._session.run(feed)
        for name in sorted(outputs):
            self._digest.update(outputs[name].tobytes())
        return outputs

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


@contextmanager
def photographs(limit: int | None = None) -> Iterator[Dataset]:
    """foolbox's labelled photographs. Raises MissingExtraError."""
    with tempfile.TemporaryDirectory(prefix="edgecls-") as folder:
        path = Path(folder) / "photographs.csv"
        path.write_bytes(photographs_csv())
        yield load_dataset(path, None, limit)


def validate(artifact: Artifact, oracle: Session, data: Dataset, threads: int,
             progress: Progress = silent) -> tuple[AccuracyResult, str]:
    """Accuracy against `oracle`, and the SHA-256 of all logits; emulated where the ISA is not this machine's."""
    with pipeline.open_session(artifact, threads=threads) as session:
        hashed = Hashed(session)
        return validate_accuracy(cast(Session, hashed), oracle, data, GATE, progress), hashed.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", metavar="NAME", default=TARGETS)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/photographs.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    evidence = Evidence(args.output, title="EfficientNet-Lite0 on photographs", legend=_LEGEND, columns=_COLUMNS,
                        identity=("target", "threads"))
    model = model_file(LITE0, args.onnx)
    for target in args.targets:
        with tempfile.TemporaryDirectory(prefix="edgecls-") as folder, photographs() as data:
            artifact = pipeline.compile_model(model, load_target(target), Path(folder) / "model.ecls")
            with pipeline.open_reference(model, artifact) as oracle:
                for threads in THREADS:
                    say(f"{target}, {threads} thread(s)")
                    _add_row(evidence, target, artifact, oracle, data, threads)
    by_target: dict[str, set[str]] = {}
    for row in evidence.rows:
        by_target.setdefault(row["target"], set()).add(row["logits_sha256"])
    differing = [target for target, hashes in by_target.items() if len(hashes) > 1]
    for target in differing:
        say(f"{target}: the logits depend on the thread count")
    if differing or not all(row["gate"]["passed"] for row in evidence.rows):
        raise SystemExit(2)


def _add_row(evidence: Evidence, target: str, artifact: Artifact, oracle: Session, data: Dataset,
             threads: int) -> None:
    same = evidence.find(target=target, threads=threads, bundle=artifact.hash, runtime=runtime_hash())
    if same is not None:
        say("  the same bundle and runtime as before: not executed again")
        evidence.put(same)
        return
    result, digest = validate(artifact, oracle, data, threads, _progress)
    evidence.put(_row(target, artifact, threads, result, digest))
    for failure in result.gate.failures if result.gate else ():
        say(f"  FAILED: {failure}")


def _row(target: str, artifact: Artifact, threads: int, result: AccuracyResult, digest: str) -> Row:
    """Photographs by file name: where they lie is nobody's business."""
    return {
        "target": target, "threads": threads, "bundle": artifact.hash, "runtime": runtime_hash(),
        "onnx": artifact.manifest.exported, "toolchain": artifact.manifest.toolchain, "logits_sha256": digest,
        **{key: msgspec.to_builtins(getattr(result, key)) for key in (
            "device", "agreement", "max_logit_difference", "relative_logit_difference", "flips", "gate", "notes")},
        "metrics": msgspec.to_builtins(result.metrics.single_label),
        "images": [{"image": Path(i.image).name, "label": "|".join(i.labels), "answer": i.predictions[0].label,
                    "reference": i.reference[0].label if i.reference else None, "correct": i.correct,
                    "relative_logit_difference": i.relative_logit_difference} for i in result.images]}


def _progress(stage: str, done: int, total: int) -> None:
    if done % 5 == 0:
        say(f"  {stage}: {done} of {total}")


if __name__ == "__main__":
    run_main(main)
