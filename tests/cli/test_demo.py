"""The demo as a command. That its answers are right on every target is shown by tests/e2e/test_photographs.py."""

from __future__ import annotations

import json

from edgecls.cli import demo


def test_it_runs_the_whole_road_and_repeats_only_what_is_needed(cli, tmp_path):
    road = ("demo", "--target", "native", "--limit", "2", "--out", tmp_path)
    outcome = cli(*road)
    assert outcome.status == 0, outcome.err
    (accuracy,) = (json.loads(p.read_bytes()) for p in tmp_path.glob("*-accuracy.json"))
    assert accuracy["agreement"] == 1.0
    assert accuracy["dataset"]["images"] == 2
    assert accuracy["dataset"]["available"] == 20
    (measured,) = (json.loads(p.read_bytes()) for p in tmp_path.glob("*-bench.json"))
    assert measured["kind"] == "bench"
    for suffix in ("md", "html"):
        (report,) = tmp_path.glob(f"*-report.{suffix}")
        assert "100.00" in report.read_text()

    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.suffix in (".onnx", ".ecls", ".json")}
    again = cli(*road)
    assert again.status == 0
    assert again.out.count("(already done)") == again.out.count("$ edgecls ") == 6
    assert {p: p.stat().st_mtime_ns for p in before} == before

    next(tmp_path.glob("*-bench.json")).write_text("{}")
    third = cli(*road)
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
