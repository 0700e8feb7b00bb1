"""A worker answers when asked, stands still otherwise, and says why it ended."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.peers.workers import Worker, WorkerError, convert

FAKE = "tests.benchmarks.peers.fake_engine"
PYTHON = Path(sys.executable)


@pytest.fixture
def started(tmp_path):
    workers = []

    def start(does):
        (tmp_path / "model").write_text(does)
        np.save(tmp_path / "in.npy", np.ones((1, 3), np.float32))
        workers.append(Worker(PYTHON, ["serve", FAKE, str(tmp_path / "model"), "2", str(tmp_path / "in.npy"),
                                       str(tmp_path / "out.npy")], tmp_path / "log", threads=1))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


def stops(process):
    """A signal to stop takes effect when the process is next scheduled."""
    end = time.monotonic() + 10
    while process.status() != psutil.STATUS_STOPPED and time.monotonic() < end:
        time.sleep(0.01)
    return process.status() == psutil.STATUS_STOPPED


def test_it_answers_and_stands_still_in_between(started, tmp_path):
    others = set(psutil.Process().children())
    worker = started("well")
    assert worker.answer() == "ready"
    assert np.load(tmp_path / "out.npy").tolist() == [[2, 2, 2]]
    times = worker.measure(warmup=2, runs=5)
    assert len(times) == 5
    assert min(times) >= 0
    (process,) = set(psutil.Process().children()) - others
    assert stops(process)
    assert process.cpu_affinity() == [max(psutil.Process().cpu_affinity())]
    assert len(worker.measure(0, 1)) == 1
    worker.close()
    assert not process.is_running()


def test_an_engine_that_cannot_load_says_why(started):
    with pytest.raises(WorkerError, match=r"^ended with status 1 / ValueError: no such operator$"):
        started("cannot load").answer()


def test_an_engine_that_dies_while_it_measures_is_an_error(started):
    worker = started("dies late")
    worker.answer()
    with pytest.raises(WorkerError, match="ended with status 3"):
        worker.measure(0, 5)
    with pytest.raises(WorkerError):
        worker.measure(0, 5)


def test_a_network_is_converted_once(tmp_path):
    (tmp_path / "onnx").write_text("network")
    made = convert(PYTHON, FAKE, tmp_path / "onnx", tmp_path / "cache", (1, 3))
    assert made.read_text() == "network 1,3"
    made.write_text("kept")
    assert convert(PYTHON, FAKE, tmp_path / "onnx", tmp_path / "cache", (1, 3)).read_text() == "kept"


def test_a_converter_that_makes_nothing_is_an_error(tmp_path):
    (tmp_path / "onnx").write_text("nothing")
    for _ in range(2):
        with pytest.raises(WorkerError, match="made no model"):
            convert(PYTHON, FAKE, tmp_path / "onnx", tmp_path / "cache", (1, 3))


def test_a_converter_gets_no_more_than_half_of_the_memory(tmp_path):
    (tmp_path / "onnx").write_text("huge")
    with pytest.raises(WorkerError, match=r"OSError: .*Cannot allocate memory"):
        convert(PYTHON, FAKE, tmp_path / "onnx", tmp_path / "cache", (1, 3))
