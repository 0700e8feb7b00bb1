"""export -> check -> compile -> explain -> run -> validate -> bench -> report, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = [
    pytest.param("reference", "native", id="reference"),
    pytest.param("tvm", "native", id="tvm-native"),
    pytest.param("tvm", "raspberry-pi-4", id="tvm-aarch64"),
    pytest.param("tvm", "armv7", id="tvm-armv7"),
]


def result(path: Path, kind: str) -> dict:
    value = json.loads(path.read_bytes())
    jsonschema.validate(value, json.loads((ROOT / "docs" / "schema.json").read_bytes()))
    assert value["kind"] == kind
    return value


@pytest.mark.parametrize(("backend", "target"), TARGETS)
def test_the_whole_road(cli, road, tmp_path, backend, target):
    bundle = tmp_path / "out.ecls"
    assert cli("check", road.model, "--target", target, "--backend", backend, "--json", tmp_path / "c.json").status == 0
    assert result(tmp_path / "c.json", "check")["supported"] is True

    outcome = cli("compile", road.model, "--target", target, "--backend", backend, "-o", bundle)
    assert outcome.status == 0, outcome.err
    first = bundle.read_bytes()
    assert cli("compile", road.model, "--target", target, "--backend", backend, "-o", bundle, "-q").err == ""
    assert bundle.read_bytes() == first

    outcome = cli("explain", bundle, "--json", tmp_path / "e.json")
    assert outcome.status == 0
    assert "conv" in outcome.out and target in outcome.out
    manifest = result(tmp_path / "e.json", "explain")["manifest"]
    assert manifest["target"]["name"] == target or target == "native"
    assert {n for layer in manifest["layers"] for n in layer["onnx_nodes"]} >= {"conv", "head"}

    outcome = cli("explain", bundle, "--profile", "--json", tmp_path / "p.json")
    assert outcome.status == 0, outcome.err
    profiled = result(tmp_path / "p.json", "explain")["manifest"]["layers"]
    timed = [layer["measured_us"] is not None for layer in profiled]
    assert all(timed) if target == "native" else not any(timed) and "no layer was timed" in outcome.out
    if any(layer["algorithm"] == "convert" for layer in profiled):
        assert f"us {'measured' if target == 'native' else 'predicted'}" in outcome.out
    else:
        assert "no conversion between layouts" in outcome.out

    outcome = cli("run", bundle, *road.images, "--top", 2, "--json", tmp_path / "r.json")
    assert outcome.status == 0, outcome.err
    answers = result(tmp_path / "r.json", "run")["images"]
    assert [a["top"][0]["label"] for a in answers] == [p.parent.name for p in road.images]
    assert all(len(a["top"]) == 2 for a in answers)

    outcome = cli("validate", bundle, "--data", road.data, "--reference", road.model, "--min-top1", "100%",
                  "--min-agreement", 1, "--max-logit-difference", 1e-4, "--json", tmp_path / "v.json")
    assert outcome.status == 0, outcome.err
    accuracy = result(tmp_path / "v.json", "validate")
    assert accuracy["metrics"]["single_label"]["top1"] == 1.0
    assert (accuracy["agreement"], accuracy["flips"]) == (1.0, [])

    outcome = cli("bench", bundle, "--runs", 20, "--json", tmp_path / "b.json")
    assert outcome.status == 0, outcome.err
    emulated = target != "native"
    speed = result(tmp_path / "b.json", "bench-instructions" if emulated else "bench")
    if emulated:
        assert "note: --runs has no effect under emulation" in outcome.err and "--warmup" not in outcome.err
        assert speed["instructions_per_inference"] > 1_000
        assert not any(key.endswith("_ms") for key in speed)
    else:
        assert "no effect" not in outcome.err
        assert len(speed["samples_ms"]) == 40
        assert speed["min_ms"] <= speed["p50_ms"]
        assert speed["valid"] is (speed["reasons"] == [])

    for suffix in ("md", "csv", "json"):
        report = tmp_path / f"report.{suffix}"
        assert cli("report", tmp_path / "v.json", tmp_path / "b.json", "-o", report).status == 0
        assert accuracy["artifact"][:12] in report.read_text()
    result(tmp_path / "report.json", "report")


def test_null_measures_the_harness(cli, road, tmp_path):
    bundle = tmp_path / "null.ecls"
    assert cli("compile", road.model, "--target", "raspberry-pi-4", "--backend", "null", "-o", bundle).status == 0
    assert cli("bench", bundle, "--runs", 20, "--json", tmp_path / "b.json").status == 0
    assert len(result(tmp_path / "b.json", "bench")["samples_ms"]) == 40


def test_the_answers_are_those_of_onnxruntime_on_the_file_that_came_in(cli, road, tmp_path):
    bundle, image = tmp_path / "out.ecls", tmp_path / "image.png"
    from PIL import Image
    pixels = np.random.default_rng(1).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((18, 18), Image.Resampling.NEAREST).save(image)
    assert cli("compile", road.model, "--target", "native", "--backend", "reference", "-o", bundle).status == 0
    answer = cli("run", bundle, image, "--json", "-", "--top", 4)
    scores = {p["label"]: p["score"] for p in json.loads(answer.out)["images"][0]["top"]}

    tensor = np.asarray(Image.open(image), np.float32)[1:17, 1:17].transpose(2, 0, 1)[None] / 255
    logits = onnxruntime.InferenceSession(road.raw).run(None, {"image": tensor})[0][0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert [scores[label] for label in ("dark", "red", "green", "blue")] == pytest.approx(expected, rel=1e-4)


def test_batches_reach_the_bundle(cli, road, tmp_path):
    model = onnx.load(road.raw)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "dynamic.onnx")
    bundle = tmp_path / "out.ecls"
    outcome = cli("compile", tmp_path / "dynamic.onnx", "--target", "native", "--backend", "reference",
                  "--batch", "4,1", "-o", bundle)
    assert outcome.status == 0, outcome.err
    cli("explain", bundle, "--json", tmp_path / "e.json")
    assert result(tmp_path / "e.json", "explain")["manifest"]["batches"] == [1, 4]


def test_quiet_and_stdout_json_leave_only_json(cli, road, tmp_path):
    bundle = tmp_path / "out.ecls"
    assert cli("compile", road.model, "-t", "native", "--backend", "reference", "-o", bundle, "--quiet").err == ""
    outcome = cli("validate", bundle, "--data", road.data, "--limit", 4, "--json", "-", "--quiet")
    assert outcome.err == ""
    assert json.loads(outcome.out)["dataset"] == {"path": str(road.data), "images": 4, "available": 8}


def test_quiet_says_nothing_beside_results_however_long_it_takes(cli, road, tmp_path, monkeypatch):
    import time

    from edgecls import pipeline, targets
    from edgecls.cli import console

    monkeypatch.setattr(console, "_LINE_EVERY_SECONDS", 0.01)
    bundle, measured, page = tmp_path / "b.ecls", tmp_path / "bench.json", tmp_path / "report.md"
    assert cli("compile", road.model, "-t", "native", "--backend", "reference", "-o", bundle, "-q").err == ""
    assert cli("bench", bundle, "--runs", 2, "--json", measured, "-q").err == ""
    for module, name in ((pipeline, "explain"), (pipeline, "report"), (targets, "native_target")):
        work = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, work=work, **k: (time.sleep(0.2), work(*a, **k))[1])
    for command in (["explain", bundle], ["report", measured, "-o", page], ["targets"]):
        loud, quiet = cli(*command), cli(*command, "--quiet")
        assert loud.err and not quiet.err, command
        assert loud.status == quiet.status == 0 and loud.out == quiet.out != "", command


def test_a_gate_that_fails_writes_the_result_and_exits_with_2(cli, road, tmp_path):
    bundle, wrong = tmp_path / "out.ecls", tmp_path / "wrong"
    assert cli("compile", road.model, "-t", "native", "--backend", "reference", "-o", bundle).status == 0
    wrong.mkdir()
    (wrong / "red").symlink_to(road.data / "blue")
    outcome = cli("validate", bundle, "--data", wrong, "--min-top1", 0.5, "--json", tmp_path / "v.json")
    assert outcome.status == 2
    verdict = result(tmp_path / "v.json", "validate")["gate"]
    assert verdict["passed"] is False and verdict["failures"]


def test_a_reference_that_is_another_model_is_said(cli, road, tmp_path):
    bundle = tmp_path / "out.ecls"
    assert cli("compile", road.model, "-t", "native", "--backend", "reference", "-o", bundle).status == 0
    outcome = cli("validate", bundle, "--data", road.data, "--reference", road.raw)
    assert outcome.status == 0
    assert f"warning: {road.raw} is not the file that {bundle} was compiled from" in outcome.err
    assert "another contract" in outcome.err
    assert "warning" not in cli("validate", bundle, "--data", road.data, "--reference", road.model).err


def test_an_invalid_measurement_is_a_result_unless_strict(cli, tmp_path, road):
    bundle = tmp_path / "b.ecls"
    assert cli("compile", road.model, "-t", "native", "--backend", "reference", "-o", bundle, "-q").status == 0
    for flags, status in (([], 0), (["--strict"], 2)):
        outcome = cli("bench", bundle, "--runs", 2, *flags)
        assert "INVALID:" in outcome.out and "4 samples are fewer than" in outcome.out
        assert outcome.status == status
