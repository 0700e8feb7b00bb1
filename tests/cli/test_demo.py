"""The demo: a real network, real photographs, the device's own preprocessing, on every kind of target."""

from __future__ import annotations

import json

import pytest

from edgecls.cli import demo


@pytest.mark.parametrize("target", [
    "native",
    pytest.param("raspberry-pi-4", marks=pytest.mark.slow),
    pytest.param("raspberry-pi-5", marks=pytest.mark.slow),
    pytest.param("armv7", marks=pytest.mark.slow),
])
def test_the_board_answers_as_onnxruntime_does(cli, tmp_path, target):
    outcome = cli("demo", "--target", target, "--out", tmp_path)
    assert outcome.status == 0, outcome.err
    (accuracy,) = (json.loads(p.read_bytes()) for p in tmp_path.glob("*-accuracy.json"))
    assert accuracy["agreement"] == 1.0
    assert accuracy["relative_logit_difference"] < 1e-4
    assert accuracy["metrics"]["single_label"]["top1_correct"] == 18
    assert accuracy["metrics"]["single_label"]["images"] == 20
    (measured,) = (json.loads(p.read_bytes()) for p in tmp_path.glob("*-bench.json"))
    assert measured["kind"] == ("bench" if target == "native" else "bench-instructions")
    for suffix in ("md", "html"):
        (report,) = tmp_path.glob(f"*-report.{suffix}")
        assert "90.00" in report.read_text()

    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.suffix in (".onnx", ".ecls", ".json")}
    again = cli("demo", "--target", target, "--out", tmp_path)
    assert again.status == 0
    assert again.out.count("(already done)") == again.out.count("$ edgecls ") == 6
    assert {p: p.stat().st_mtime_ns for p in before} == before

    next(tmp_path.glob("*-bench.json")).write_text("{}")
    third = cli("demo", "--target", target, "--out", tmp_path)
    assert third.status == 0
    assert json.loads(next(tmp_path.glob("*-bench.json")).read_bytes())["kind"] == measured["kind"]


def test_without_the_extra_it_says_what_to_install(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    outcome = cli("demo", "--out", tmp_path / "new")
    assert outcome.status == 2
    assert outcome.err == ("error: the package 'foolbox' is not installed\n"
                           "hint: run: pip install 'edgecls[demo]'\n")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made(cli, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = cli("demo", "--out", tmp_path / "file" / "new")
    assert outcome.status == 2
    assert "cannot be made" in outcome.err
