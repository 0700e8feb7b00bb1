"""What lower precision costs in accuracy, told by ONNX Runtime before any engine is built.

    python -m benchmarks.precision [--onnx FOLDER] [-o benchmarks/results/precision.json]

EfficientNet-Lite0 with its ImageNet weights on the 20 labelled photographs of the package foolbox (edgecls[demo]), in
float16 and in int8. int8 is calibrated on other images: foolbox's 40 CIFAR pictures, and crops of the photographs in
scikit-image and scikit-learn.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.evidence import Column, Evidence, Row, say
from benchmarks.models import LITE0, add_onnx_option, model_file
from benchmarks.photographs import photographs
from benchmarks.zoo_under_qemu import number
from edgecls import pipeline
from edgecls.errors import MissingExtraError
from edgecls.harness import validate_accuracy
from edgecls.output import work_folder
from edgecls.passes.precision import PrecisionOptions
from edgecls.results import AccuracyResult
from edgecls.targets import load_target
from edgecls.types import Artifact, Gate

METHODS = ("minmax", "entropy", "percentile")
AGREEMENT = {"fp16": 20, "int8": 19}
"""Photographs, of 20, that must keep the top-1 class they have in float32."""

_LEGEND = (
    "EfficientNet-Lite0 with its real ImageNet weights on the 20 labelled photographs of the package foolbox, computed "
    "by ONNX Runtime on the CPU, from the graphs that `edgecls compile --precision` gives to TensorRT. *Agreement*: "
    "photographs with the top-1 class of the float32 network. *Difference*: the largest absolute difference of a "
    "photograph's logits divided by their range, of the worst photograph. A row passes with 20 of 20 for fp16, and "
    "with 19 for int8.",
    "ONNX Runtime's CPU kernels round every float16 tensor but add up in float32, and compute int8 from the quantised "
    "numbers in float32: a GPU's sums differ from both in their last bits.",
    "*cifar*: foolbox's 40 pictures of CIFAR-10 and CIFAR-100, 32x32, scaled up by the contract's preprocessing: the "
    "hardest case, since they look like nothing the network will see. *crops*: 15 photographs that come with "
    "scikit-image and 2 that come with scikit-learn, each whole and in four overlapping crops of two thirds. The 20 "
    "photographs are in neither.",
)
_COLUMNS = (
    Column("precision", lambda r: r["precision"]["kind"]),
    Column("calibrated on", lambda r: f"{r['images']}: {r['precision']['calibration_images']}" if r["images"] else ""),
    Column("by", lambda r: r["precision"]["calibration"]),
    Column("top-1", lambda r: f"{r['metrics']['top1_correct']} of {r['metrics']['images']}"),
    Column("top-5", lambda r: f"{r['metrics']['top5_correct']} of {r['metrics']['images']}"),
    Column("agreement", lambda r: f"{r['agreeing']} of {r['metrics']['images']}"),
    Column("flips", lambda r: "; ".join(map(_flip, r["flips"])) or "none"),
    Column("difference", lambda r: number(r["relative_logit_difference"])),
    Column("ONNX, MB", lambda r: f"{r['onnx_bytes'] / 1e6:.1f}"),
    Column("passed", lambda r: "yes" if r["passed"] else "NO"),
)
_CROPPED = {"skimage": ("data", ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
                                 "color.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png",
                                 "motorcycle_left.png", "motorcycle_right.png", "retina.jpg", "rocket.jpg")),
            "sklearn": ("datasets/images", ("china.jpg", "flower.jpg"))}


def _flip(row: Row) -> str:
    return f"{row['image']}: {row['reference']} -> {row['answer']}"


def cifar_pictures(folder: Path) -> Path:
    """Links to foolbox's CIFAR pictures. Raises MissingExtraError."""
    data = _package("foolbox", "pip install 'edgecls[demo]'") / "data"
    for path in sorted(data.glob("cifar10*.png")):
        (folder / path.name).symlink_to(path)
    return folder


def crops(folder: Path) -> Path:
    """Photographs of scikit-image and scikit-learn, whole and cropped. Raises MissingExtraError."""
    from PIL import Image

    for package, (where, names) in _CROPPED.items():
        data = _package(package, "pip install --no-deps scikit-image scikit-learn") / where
        for name in names:
            with Image.open(data / name) as opened:
                image = opened.convert("RGB")
            width, height = image.size
            boxes = [(x, y, x + width * 2 // 3, y + height * 2 // 3) for x in (0, width // 3) for y in (0, height // 3)]
            for index, box in enumerate([(0, 0, width, height), *boxes]):
                image.crop(box).save(folder / f"{Path(name).stem}_{index}.png")
    return folder


def measure(model: Path, options: PrecisionOptions) -> tuple[Artifact, AccuracyResult]:
    """Accuracy of `model` in this precision against float32, both by ONNX Runtime."""
    with work_folder() as folder, photographs() as data:
        artifact = pipeline.compile_model(model, load_target("native"), folder / "model.ecls", backend="reference",
                                          precision=options)
        with pipeline.open_reference(model, artifact) as oracle, pipeline.open_session(artifact) as session:
            return artifact, validate_accuracy(session, oracle, data, Gate())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/precision.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    evidence = Evidence(args.output, title="Accuracy in lower precision", legend=_LEGEND, columns=_COLUMNS,
                        identity=("name",))
    model = model_file(LITE0, args.onnx)
    with work_folder() as first, work_folder() as other:
        folders = {"cifar": cifar_pictures(first), "crops": crops(other)}
        runs: list[tuple[str, PrecisionOptions]] = [("", PrecisionOptions(precision="fp16"))]
        runs += [(images, PrecisionOptions(precision="int8", calibrate=folder, calibration=method))
                 for images, folder in folders.items() for method in METHODS]
        for images, options in runs:
            say(f"{options.precision} {images} {options.calibration if images else ''}")
            evidence.put(_row(images, *measure(model, options)))
    if not all(row["passed"] for row in evidence.rows):
        raise SystemExit(2)


def _row(images: str, artifact: Artifact, result: AccuracyResult) -> Row:
    precision = artifact.manifest.precision
    single: Any = result.metrics.single_label
    agreeing = round((result.agreement or 0) * single.images)
    return {
        "name": f"{precision.kind} {images} {precision.calibration}".strip(), "images": images, "agreeing": agreeing,
        "precision": msgspec.to_builtins(precision), "metrics": msgspec.to_builtins(single),
        "relative_logit_difference": result.relative_logit_difference,
        "flips": [{"image": Path(i.image).name, "label": "|".join(i.labels), "answer": i.predictions[0].label,
                   "reference": i.reference[0].label} for i in result.images
                  if i.reference and i.predictions[0].index != i.reference[0].index],
        "onnx_bytes": artifact.manifest.members["model_b1.onnx"].bytes, "bundle": artifact.hash,
        "onnx": artifact.manifest.exported, "passed": agreeing >= AGREEMENT[precision.kind]}


def _package(name: str, remedy: str) -> Path:
    spec = find_spec(name)  # importing it would load far more than its images
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"the package '{name}' is not installed", f"run: {remedy}")
    return Path(next(iter(spec.submodule_search_locations)))


if __name__ == "__main__":
    main()
