"""Real weights, real photographs, preprocessing on the device: the answer of ONNX Runtime, to the same bits with every
number of threads. The committed result of all targets is benchmarks/results/photographs.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from benchmarks.models import LITE0
from benchmarks.photographs import TARGETS, THREADS, photographs, validate
from edgecls import pipeline
from edgecls.results import AccuracyResult
from edgecls.targets import load_target

Run = Callable[..., tuple[AccuracyResult, str]]


@pytest.fixture
def run(network, tmp_path):
    """run(target): the validation of a number of photographs by a number of threads."""
    with contextlib.ExitStack() as stack:
        def on(target: str) -> Run:
            artifact = pipeline.compile_model(network(LITE0), load_target(target), tmp_path / "model.ecls")
            oracle = stack.enter_context(pipeline.open_reference(network(LITE0), artifact))
            return lambda threads, limit=None: validate(
                artifact, oracle, stack.enter_context(photographs(limit)), threads)

        yield on


@pytest.mark.parametrize("target", [
    pytest.param(name, marks=() if name == "native" else pytest.mark.slow) for name in TARGETS])
def test_every_photograph_with_every_thread_count(run, target):
    on_target = run(target)
    results = [on_target(threads) for threads in THREADS]
    for threads, (result, _) in zip(THREADS, results, strict=True):
        assert result.threads == threads
        assert result.device.emulated == (target != "native")
        assert result.agreement == 1.0
        assert result.metrics.single_label.images == 20
        assert result.metrics.single_label.top1_correct == 18
        assert result.relative_logit_difference < 1e-4
    assert len({logits for _, logits in results}) == 1


def test_a_few_photographs_on_an_emulated_board(run):
    result, _ = run("raspberry-pi-4")(threads=1, limit=3)
    assert result.device.name == "qemu:cortex-a72"
    assert result.agreement == 1.0
    assert result.metrics.single_label.images == 3
    assert result.metrics.single_label.top1_correct >= 2
    assert result.relative_logit_difference < 1e-4
