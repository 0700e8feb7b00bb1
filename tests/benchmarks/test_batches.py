"""The table of batch sizes says what an image takes, what was disturbed, and what could not run."""

from __future__ import annotations

import json
import os
import sys

import pytest

from benchmarks import batches
from benchmarks.batches import COLUMNS, main, rows
from benchmarks.peers.figures import Work
from tests.models import Builder

LOAD = Work(multiply_adds=50_000_000, weight_bytes=1000)
STEADY = (1e11, 1e11, 1e11)
CORES = len(os.sched_getaffinity(0))


def cells(row):
    return {column.title: str(column.cell(row)) for column in COLUMNS}


def test_a_row_is_of_one_image():
    samples = {1: [[4_000_000], [2_000_000, 5_000_000]], 3: [[6_000_000], [9_000_000]]}
    one, three = rows(samples, [0, 1], LOAD, STEADY, 0.0)
    shown = cells({"network": "net", "threads": 2, **three})
    assert shown == {"network": "net", "threads": "2", "batch": "3", "ms per image": "2.00 / 2.00",
                     "to batch 1": "0.50", "of peak": "50%", "peak, GFLOP/s": "100.0", "valid": "yes"}
    assert cells({"network": "net", "threads": 2, **one})["ms per image"] == "4.00 / 2.00"
    assert three["samples_ns"] == ["6000000", "9000000"]


def test_without_batch_1_there_is_nothing_to_compare_with():
    (row,) = rows({2: [[2_000_000]]}, [0], LOAD, STEADY, 0.0)
    assert cells({"network": "net", "threads": 1, **row})["to batch 1"] == "–"


@pytest.mark.parametrize(("peaks", "foreign", "said"), [
    ((1e11, 1.2e11, 1e11), 0.0, "NO: the peak of multiply-adds varied by 20.0%"),
    (STEADY, 0.5, "NO: other programs kept 0.50 CPUs busy"),
])
def test_a_row_of_a_disturbed_machine_says_so(peaks, foreign, said):
    (row,) = rows({1: [[2_000_000]]}, [0], LOAD, peaks, foreign)
    assert cells({"network": "net", "threads": 1, **row})["valid"].startswith(said)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the benchmark of a tiny network, and gives the rows that it leaves."""
    b = Builder()
    b.output(b.node("Gemm", b.input("x", ("batch", 13)), b.weight(13, 5)), "y")
    (tmp_path / "lenet5.onnx").write_bytes(b.finish().onnx)
    arguments = f"--models lenet5 --batches 3 1 --threads 1 {CORES + 1} --rounds 2".split()
    monkeypatch.setattr(sys, "argv", ["batches", *arguments, "--onnx", str(tmp_path), "-o", str(tmp_path / "b.json")])

    def run():
        main()
        return json.loads((tmp_path / "b.json").read_bytes())["rows"]

    return run


def test_one_bundle_is_measured_at_every_batch_size_on_the_cores_there_are(command, tmp_path):
    one, three, absent = command()
    assert (one["batch"], three["batch"], absent["batch"]) == (1, 3, None)
    assert one["bundle"] == three["bundle"]
    assert all(2 <= len(row["samples_ns"]) == len(row["peaks_flops_per_s"]) - 1 <= 6 for row in (one, three))
    assert all(2 <= len(row["counted"]) <= len(row["samples_ns"]) for row in (one, three))
    shown = f"| lenet5 | {CORES + 1} | all | not run: {CORES} cores | – | – | – | – |"
    assert shown in (tmp_path / "b.md").read_text()


@pytest.mark.parametrize("valid", [True, False])
def test_only_what_was_measured_well_is_not_measured_again(command, monkeypatch, valid):
    measured = []

    def measure(artifact, load, sizes, *others):
        measured.append(sizes)
        return [{**row, "valid": valid} for row in rows({size: [[1]] for size in sizes}, [0], LOAD, STEADY, 0.0)]

    monkeypatch.setattr(batches, "measure", measure)
    assert command() == command()
    assert measured == [[1, 3]] * (1 if valid else 2)
