"""Networks of grouped convolutions, dense concatenations and pooling that rounds up run on own kernels alone.

What TVM's operators would compute, or what is converted to their layout and back, is many times slower.
"""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.models import FAMILIES
from benchmarks.zoo_under_qemu import compare_with_onnxruntime
from edgecls import pipeline
from edgecls.targets import load_target, native_target

OWN = {"direct", "winograd-f2", "winograd-f4", "winograd-f6", "depthwise", "grouped", "pooling", "mean", "elementwise",
       "channels", "convert"}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["native", "raspberry-pi-4"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_runs_on_own_kernels(network, tmp_path, name, target):
    model = network(name)
    artifact = pipeline.compile_model(model, native_target() if target == "native" else load_target(target),
                                      tmp_path / "model.ecls")
    algorithms = Counter(layer.algorithm for layer in artifact.manifest.layers)
    assert set(algorithms) <= OWN
    assert algorithms["convert"] == 1  # the logits, at the end
    result, _ = compare_with_onnxruntime(model, artifact)
    assert all(o.reference_range > 0.01 for o in result.outputs)
    assert result.relative_difference <= 1e-3  # some layers are Winograd convolutions
