"""Products of two computed tensors: outer dimensions as numpy has them, and long rows a chunk at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.interfaces import Device
from edgecls.passes import optimize_graph
from edgecls.types import Artifact, ExportedGraph, Target
from tests.backends.tvm.blocked.conftest import target_of
from tests.backends.tvm.blocked.machines import two_pipes
from tests.models import Builder, assert_close, random_feed, run_onnxruntime


def product(first: tuple[int, ...], second: tuple[int, ...]) -> ExportedGraph:
    """Of two inputs, as rows, which are made what they should be."""
    b = Builder()
    sides = [b.node("Reshape", b.node("Relu", b.input(name, ("batch", math.prod(shape)))), b.constant(shape, np.int64))
             for name, shape in (("x", first), ("y", second))]
    result = b.node("MatMul", *sides)
    b.output(b.node("Reshape", result, b.constant((1, -1), np.int64)), "z")
    return b.finish()


def compiled(graph: ExportedGraph, target: str | Target, folder: Path) -> Artifact:
    return TvmBackend().compile(optimize_graph(graph, (1,)), target_of(target), CompileOptions(), folder / "m.ecls")


@pytest.mark.parametrize(("first", "second"), [
    ((2, 3, 5, 7), (3, 7, 4)), ((2, 1, 5, 7), (2, 3, 7, 4)), ((5, 7), (2, 1, 7, 17)), ((3, 5, 7), (2, 1, 7, 4)),
    ((1, 5, 7), (2, 3, 7, 4)), ((2, 3, 1, 7), (7, 1)), ((4, 1, 9, 3), (1, 3, 3, 18)),
])
@pytest.mark.parametrize("target", ["native", "raspberry-pi-4"])
def test_outer_dimensions_are_those_of_numpy(first: tuple[int, ...], second: tuple[int, ...], target: str,
                                             tmp_path: Path, devices: Callable[[str], Device]) -> None:
    graph = product(first, second)
    artifact = compiled(graph, target, tmp_path)
    assert "matmul" in {row.algorithm for row in artifact.manifest.layers}
    feed = random_feed(graph, 1)
    with TvmBackend().open_session(artifact, devices(target)) as session:
        assert_close(session.run(feed), run_onnxruntime(graph, feed))


@pytest.mark.parametrize(("first", "second"), [
    ((2, 97, 999), (999, 301)), ((43, 2048), (2048, 150)), ((200, 531), (531, 531)),
    ((1, 3, 61, 700), (2, 1, 700, 49))])
def test_long_rows_go_by_chunks(first: tuple[int, ...], second: tuple[int, ...], tmp_path: Path,
                                devices: Callable[[str], Device]) -> None:
    """On a CPU with so small caches that these are long; the same bits for any number of threads."""
    target = two_pipes(lambda lanes: 24 * lanes * lanes * 4)
    cache = structs.replace(target.cpu.cache, l2=1 << 16)
    target = structs.replace(target, cpu=structs.replace(target.cpu, cache=cache))
    graph = product(first, second)
    artifact = compiled(graph, target, tmp_path)
    assert any("at a time" in row.reason for row in artifact.manifest.layers if row.algorithm == "matmul")
    feed, answers = random_feed(graph, 1), []
    for threads in (1, 2, 4):
        with TvmBackend().open_session(artifact, devices("native"), threads) as session:
            answers.append(session.run(feed))
    assert_close(answers[0], run_onnxruntime(graph, feed))
    assert all((answers[0]["z"] == other["z"]).all() for other in answers)
