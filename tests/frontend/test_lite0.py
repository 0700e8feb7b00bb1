"""EfficientNet-Lite0 with its real weights on real photographs, through the contract and ONNX Runtime."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgecls.frontend import ExportOptions, export_lite0, load_onnx, save_onnx
from edgecls.preprocess import decode_image, preprocess, probabilities
from edgecls.types import ExportedGraph
from tests.frontend.networks import run

_FOOLBOX = find_spec("foolbox")  # only its photographs are wanted: importing it brings in every attack
assert _FOOLBOX is not None and _FOOLBOX.origin, "run: pip install 'edgecls[demo]'"
PHOTOGRAPHS = sorted(Path(_FOOLBOX.origin).parent.glob("data/imagenet_*.jpg"))


@pytest.fixture(scope="module")
def lite0() -> ExportedGraph:
    return export_lite0()


def top5(graph: ExportedGraph, photograph: Path) -> list[int]:
    contract = graph.contract.image_input
    logits = run(graph.onnx, preprocess(decode_image(photograph, contract), contract))[0]
    answer = probabilities(logits, graph.contract.answer)[0]
    assert abs(float(answer.sum()) - 1) < 1e-5
    return [int(i) for i in np.argsort(-answer, kind="stable")[:5]]


def test_it_recognises_eighteen_of_twenty_photographs(lite0: ExportedGraph) -> None:
    truth = [int(re.fullmatch(r"imagenet_\d+_(\d+)", p.stem)[1]) for p in PHOTOGRAPHS]  # type: ignore[index]
    answers = [top5(lite0, p) for p in PHOTOGRAPHS]
    assert len(truth) == 20
    assert sum(t == a[0] for t, a in zip(truth, answers, strict=True)) == 18
    assert sum(t in a for t, a in zip(truth, answers, strict=True)) == 19


def test_the_wrong_preprocessing_costs_more_than_compilation_may(lite0: ExportedGraph, tmp_path: Path) -> None:
    save_onnx(lite0, tmp_path / "lite0.onnx")
    wrong = load_onnx(tmp_path / "lite0.onnx", ExportOptions(preprocess="imagenet"))
    assert wrong.contract.answer.labels == lite0.contract.answer.labels
    truth = [int(p.stem.rpartition("_")[2]) for p in PHOTOGRAPHS]
    assert sum(t == top5(wrong, p)[0] for t, p in zip(truth, PHOTOGRAPHS, strict=True)) < 18
