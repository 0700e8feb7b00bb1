"""Every network, compiled for an ARM board and executed there (under qemu), computes what ONNX Runtime does.

LeNet-5 in the default tier, the others with `pytest -m slow`. The committed result of all is benchmarks/results/zoo.md.
"""

from __future__ import annotations

import pytest

from benchmarks.zoo_under_qemu import PAIRS, compare_with_onnxruntime
from edgecls import pipeline
from edgecls.targets import load_target
from tests.backends.tvm.test_memory_facts import check_memory


@pytest.mark.parametrize(("name", "target"), [
    ("lenet5", "armv7"),
    *(pytest.param(*pair, marks=() if pair[0] == "lenet5" else pytest.mark.slow) for pair in PAIRS),
])
def test_the_arm_binary_matches_onnxruntime(network, tmp_path, name, target):
    model = network(name)
    artifact = pipeline.compile_model(model, load_target(target), tmp_path / "model.ecls")
    check_memory(artifact)
    result, run = compare_with_onnxruntime(model, artifact)
    assert run["device"].startswith("qemu:")
    assert len(result.seeds) == 3
    assert all(o.reference_range > 0.01 for o in result.outputs)
    assert result.relative_difference <= 1e-4
    assert result.passed
