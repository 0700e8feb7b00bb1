"""A result file says where it comes from, goes on where it stopped, and never mixes what does not belong together."""

from __future__ import annotations

import json
import subprocess

import pytest

from benchmarks import evidence
from benchmarks.evidence import ROOT, Column, Evidence


@pytest.fixture
def opened(tmp_path):
    def make():
        return Evidence(tmp_path / "r.json", title="A title", legend=("What it is.",), identity=("network",),
                        columns=(Column("network", lambda r: r["network"]), Column("n", lambda r: r["n"])))
    return make


def test_rows_are_written_one_by_one_and_found_again(opened, tmp_path):
    first = opened()
    first.put({"network": "a", "n": 1})
    assert json.loads((tmp_path / "r.json").read_bytes())["rows"][0]["n"] == 1
    again = opened()
    again.put({"network": "b|c", "n": 2})
    again.put({"network": "a", "n": 3})
    assert [r["n"] for r in opened().rows] == [3, 2]
    again.put({"network": "lines\nof text", "n": 4})
    assert opened().find(network="a", n=3)
    assert opened().find(network="a", n=1) is None
    table = (tmp_path / "r.md").read_text()
    assert "| a | 3 |\n| b\\|c | 2 |\n" in table
    assert "lines of text" in table
    assert "# A title" in table


def test_rows_of_one_network_stand_together(tmp_path):
    opened = Evidence(tmp_path / "r.json", title="", legend=(), identity=("network", "threads"),
                      columns=(Column("network", lambda r: r["network"]),))
    for network, threads in (("a", 1), ("b", 1), ("a", 2), ("b", 2)):
        opened.put({"network": network, "threads": threads})
    assert [(r["network"], r["threads"]) for r in opened.rows] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]


@pytest.mark.parametrize("damage", [
    lambda text: text.replace('"n"', '"m"'), lambda text: text[:len(text) // 2], lambda text: "[]", lambda text: "",
    lambda text: text.replace('"rows"', '"columns"'), lambda text: text.replace('"network"', '"nets"'),
    lambda text: text.replace('"rows": [', '"rows": [7, '),
])
def test_what_is_damaged_or_of_an_older_form_is_dropped(opened, tmp_path, capsys, damage):
    opened().put({"network": "a", "n": 1})
    path = tmp_path / "r.json"
    path.write_text(damage(path.read_text()))
    assert opened().rows == []
    assert "begun anew" in capsys.readouterr().err


def test_it_names_command_commit_versions_and_machine(opened, tmp_path):
    opened().put({"network": "a", "n": 1})
    written = json.loads((tmp_path / "r.json").read_bytes())
    assert written["rows"][0]["command"].startswith("python ")
    assert written["versions"]["apache-tvm"]
    assert written["machine"]["cores"] >= 1
    for key in ("command", "commit"):
        assert written["rows"][0][key] in (tmp_path / "r.md").read_text()


def test_every_row_keeps_its_own_command(opened, tmp_path, monkeypatch):
    opened().put({"network": "a", "n": 1})
    monkeypatch.setattr(evidence, "command", lambda: "python -m other")
    opened().put({"network": "b", "n": 2})
    first, second = opened().rows
    assert first["command"] != second["command"] == "python -m other"
    assert "`python -m other`" in (tmp_path / "r.md").read_text()


@pytest.mark.parametrize("what", ["versions", "machine"])
def test_rows_of_other_versions_or_machines_are_dropped(opened, monkeypatch, what):
    opened().put({"network": "a", "n": 1})
    real = getattr(evidence, what)()
    monkeypatch.setattr(evidence, what, lambda *packages: {**real, "python": "2.7"})
    assert opened().rows == []


def test_the_commit_is_the_last_that_changed_the_code():
    known = subprocess.run(["git", "cat-file", "-e", evidence.commit().removesuffix("+changes")], cwd=ROOT, check=False)
    assert known.returncode == 0 or evidence.commit() == "unknown"


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert evidence.commit() == "unknown"


def test_the_packages_that_made_the_rows_are_named(tmp_path):
    made = Evidence(tmp_path / "r.json", title="t", legend=(), identity=("network",), columns=(), packages=("pytest",))
    made.put({"network": "a"})
    assert json.loads((tmp_path / "r.json").read_text())["versions"]["pytest"] == pytest.__version__
    assert f"| pytest | {pytest.__version__} |" in (tmp_path / "r.md").read_text()


def test_the_table_of_tensorrt_names_the_builder_of_its_rows():
    known = json.loads((ROOT / "benchmarks/results/tensorrt.json").read_bytes())
    assert {row["tensorrt_rtx"] for row in known["rows"] if row["built"]} == {known["versions"]["tensorrt-rtx"]}
