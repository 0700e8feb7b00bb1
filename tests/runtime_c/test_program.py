"""The modes of ec_run beside serving, under the sanitizers."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from edgecls.harness.statistics import percentile
from tests.runtime_c import tiny
from tests.runtime_c.test_preprocess import in_pillow


@pytest.fixture
def run(ec_run):
    def call(*arguments):
        done = subprocess.run([ec_run, *map(str, arguments)], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    return call


def test_an_image_is_classified(run, folder, tmp_path):
    pixels = np.random.default_rng(23).integers(0, 256, (21, 34, 3), dtype=np.uint8)
    picture = tmp_path / "picture.ppm"
    picture.write_bytes(b"P6 # a comment\n34 21\n255\n" + pixels.tobytes())
    tensor = in_pillow(pixels, size=(8, 8), resize=(10, 10), mode="shortest", scale=np.float32(1 / 255),
                       mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    logits = tiny.network(tensor[None])[0].astype(np.float64)
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    labels = ['red "quoted"', "green", "blue"]
    expected = [f"{i}\t{probabilities[i]:.6f}\t{labels[i]}" for i in np.argsort(-probabilities, kind="stable")]
    assert run(folder, "--image", picture) == (0, "\n".join([*expected, ""]), "")
    assert run(folder, "--image", picture, "--top", 1)[1] == expected[0] + "\n"


@pytest.mark.parametrize("data", [b"", b"P3 1 1 255\n1 1 1", b"P6 1 1 65535\n123456", b"P6 2 2 255\n123",
                                  b"P6 0 5 255\n", b"P6 99999 99999 255\n", b"P6 1 -1 255\n1", b"P6 #", b"P6 1"])
def test_a_bad_image_is_one_message(run, folder, tmp_path, data):
    picture = tmp_path / "picture.ppm"
    picture.write_bytes(data)
    status, out, error = run(folder, "--image", picture)
    assert (status, out) == (2, "") and error.count("\n") == 1


def test_timing_modes(run, folder):
    assert run(folder, "--bench", "--runs", 3, "--warmup", 1, "--threads", 2)[1].startswith("runs 3  threads 2  min ")
    assert run(folder, "--kernel", "row_sum_2", "--batch", 2, "--runs", 3)[1].startswith("runs 3 ")
    assert run(folder, "--kernel", "row_sum_2", "--runs", 3)[0] == 2  # batch 1 does not call it
    assert run(folder, "--runs", 4) == (0, "", "")
    assert run(folder, "--runs", 0, "--trust") == (0, "", "")


def test_percentiles_are_those_of_the_host_side(tmp_path, folder):
    """Under a clock with known times: p90 is the nearest rank, as edgecls.harness.statistics defines it."""
    sources = [s for s in tiny.sources(program=True) if s.name != "clock.c"]
    program = tiny.compile_c(("gcc",), tmp_path / "ec_run", [tiny.HERE / "scripted_clock.c", *sources])
    for runs in (1, 2, 3, 7, 10, 11, 19, 20, 50, 99, 100, 101):
        samples = [(n * 7919 % 1009 + 1) / 1e3 for n in range(runs)]
        said = subprocess.run([program, folder, "--bench", "--runs", str(runs), "--warmup", "0"], capture_output=True,
                              text=True, check=True).stdout
        assert said.split("  ")[2:] == [f"min {min(samples):.4f} ms", f"p50 {percentile(samples, 50):.4f} ms",
                                        f"p90 {percentile(samples, 90):.4f} ms", f"max {max(samples):.4f} ms\n"], runs


def test_trusted_files_are_not_hashed_but_still_measured(run, folder):
    weights = folder / "weights.bin"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + b"!")  # padding: the network does not read it
    assert run(folder, "--selftest")[0] == 2
    assert run(folder, "--selftest", "--trust")[0] == 0
    weights.write_bytes(data[:-1])
    assert run(folder, "--selftest", "--trust")[0] == 2


@pytest.mark.parametrize("arguments", [(), ("F",), ("F", "--runs"), ("F", "--runs", "-1"), ("F", "--threads", "9999"),
                                       ("F", "--nonsense", "1"), ("F", "G", "--bench"), ("--install", "B"),
                                       ("F", "--runs", "1x"), ("F", "--batch", "3", "--bench")])
def test_wrong_arguments(run, arguments):
    status, out, error = run(*arguments)
    assert (status, out) == (2, "") and error


def test_version_facts_and_help(run):
    assert run("--version")[0] == run("--help")[0] == 0
    status, out, _ = run("--facts")
    assert status == 0 and json.loads(out)["machine"]
