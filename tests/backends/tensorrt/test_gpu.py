"""Everything that only a GPU can show: `pytest -m gpu` on a machine with one; elsewhere, and where a library is
missing, it counts as not run.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from edgecls.backends.tensorrt import TensorRTBackend, TensorRTOptions
from edgecls.backends.tensorrt.answers import GpuFound
from edgecls.backends.tensorrt.build import Library
from edgecls.backends.tensorrt.driver import open_driver
from edgecls.backends.tensorrt.driver.interface import DRIVERS
from edgecls.backends.tensorrt.recipe import read_recipe
from edgecls.devices import LocalDevice
from edgecls.errors import BundleError
from edgecls.passes import optimize_graph
from edgecls.passes.precision import PrecisionOptions, set_precision
from edgecls.types import MeasureSettings
from tests.backends.tensorrt.conftest import needs_rtx
from tests.backends.tensorrt.machine import board_for, here, need_bindings, why_not
from tests.backends.tensorrt.networks import residual
from tests.models import MODELS, random_feed, run_onnxruntime

pytestmark = pytest.mark.gpu
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2}  # of the output's range; TF32 sums are part of it


@pytest.fixture(params=get_args(Library))
def library(request):
    return request.param


@pytest.fixture
def bundle(library, tmp_path):
    """bundle(network): made ahead of time for this machine's GPU, or finished on it; skips what cannot run here."""
    def make(exported, precision="fp16", batches=(1,)):
        if reason := why_not(library, here(), precision):
            pytest.skip(reason)
        need_bindings()
        graph = set_precision(optimize_graph(exported, batches), PrecisionOptions(precision=precision))
        backend, device = TensorRTBackend(), LocalDevice()
        artifact = backend.compile(graph, board_for(library, here().gpu), TensorRTOptions(), tmp_path / "made.ecls")
        return artifact if artifact.manifest.finished else backend.finish(artifact, device, tmp_path / "finished.ecls")

    return make


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("model", ["classifier", "attention"])
def test_the_gpu_computes_what_onnxruntime_computes(model, precision, bundle):
    exported = MODELS[model]()
    with TensorRTBackend().open_session(bundle(exported, precision, (1, 3)), LocalDevice()) as session:
        for batch in (1, 3, 1):
            feed = random_feed(exported, batch, seed=batch)
            for name, wanted in run_onnxruntime(exported, feed).items():
                difference = float(np.abs(session.run(feed)[name] - wanted).max())
                assert difference <= TOLERANCE[precision] * float(np.ptp(wanted))


def test_both_times_are_measured(bundle):
    with TensorRTBackend().open_session(bundle(residual()), LocalDevice()) as session:
        samples, gpu = session.measure(MeasureSettings(runs=20)), session.facts().gpu
    assert gpu.name == here().gpu.name and gpu.cuda == here().gpu.cuda and gpu.memory_total_mb > 0
    assert len(samples.values) == len(samples.gpu_ns) == 20
    assert all(0 < gpu < end_to_end for gpu, end_to_end in zip(samples.gpu_ns, samples.values, strict=True))


def test_a_finished_engine_says_where_it_was_built_and_how_it_fused(bundle):
    artifact = bundle(residual(), batches=(1, 3))
    if artifact.manifest.runtime == "tensorrt":
        recipe = read_recipe(artifact)
        assert recipe.built_on is not None and recipe.built_on.gpu == here().gpu.name
    for plan in artifact.manifest.plans:
        rows = [row for row in artifact.manifest.layers if row.batch == plan.batch]
        assert plan.engine_layers == len(rows) > 0
        fused = max((row for row in rows if {"second", "add", "relu"} <= set(row.onnx_nodes)), key=lambda r: r.flops)
        assert fused.precision == "fp16" and fused.activation_bytes >= 3 * plan.batch * 64 * 56 * 56 * 2


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_moves_bytes_there_and_back(name):
    need_bindings(name)
    driver = open_driver(name)
    stream, size = driver.create_stream(), 12345
    address, first, second = driver.allocate(size), driver.pin(size), driver.pin(size)
    start, end = driver.create_event(), driver.create_event()
    first.array[:] = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    driver.record(start, stream)
    driver.to_device(address, first, size, stream)
    driver.to_host(second, address, size, stream)
    driver.record(end, stream)
    driver.synchronize(stream)
    assert np.array_equal(first.array, second.array) and driver.elapsed_ns(start, end) > 0
    driver.free(address)
    driver.unpin(first)
    driver.unpin(second)
    driver.destroy_event(start)
    driver.destroy_event(end)
    driver.destroy_stream(stream)
    driver.close()


@needs_rtx
def test_a_plan_for_another_capability_is_refused(tmp_path):
    need_bindings()
    other = next(c for c in ("8.6", "8.9", "12.0") if c != here().gpu.compute_capability)
    board = board_for("tensorrt_rtx", GpuFound(name="other", compute_capability=other))
    graph = set_precision(optimize_graph(residual()), PrecisionOptions(precision="fp16"))
    artifact = TensorRTBackend().compile(graph, board, TensorRTOptions(), tmp_path / "other.ecls")
    with pytest.raises(BundleError, match="compute capability"):
        TensorRTBackend().open_session(artifact, LocalDevice())
