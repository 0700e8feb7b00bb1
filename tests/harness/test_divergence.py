"""Numeric parity of two sessions on seeded inputs."""

import numpy as np
import pytest

from edgecls.errors import DataError
from edgecls.harness import compare_outputs
from edgecls.harness.divergence import random_inputs
from edgecls.types import TensorSpec
from tests.harness.fake_session import FakeSession


def first_four(tensor):
    return tensor.reshape(-1)[:4]


def shifted(by):
    def answer(tensor):
        values = tensor.reshape(-1)[:4].copy()
        values[2] += by
        return values

    return answer


def test_differences_are_absolute_and_relative_to_the_references_range():
    result = compare_outputs(FakeSession(shifted(0.5)), FakeSession(first_four), seeds=(0, 5))
    for row in result.outputs:
        tensor = np.random.default_rng(row.seed).standard_normal((1, 3, 2, 2)).astype(np.float32).reshape(-1)[:4]
        assert row.max_difference == pytest.approx(0.5, rel=1e-6)
        assert row.reference_range == pytest.approx(float(np.ptp(tensor)))
    assert result.relative_difference == max(r.relative_difference for r in result.outputs)
    assert not result.passed and result.seeds == (0, 5)


def test_equal_outputs_pass_and_infinite_ones_never_do():
    assert compare_outputs(FakeSession(first_four), FakeSession(first_four)).passed
    result = compare_outputs(FakeSession(shifted(np.inf)), FakeSession(first_four), limit=1e9)
    assert not result.passed and result.max_difference is None


def test_a_common_batch_is_run():
    result = compare_outputs(FakeSession(first_four, batches=(1, 4)), FakeSession(first_four, batches=(4,)))
    assert result.batch == 4 and result.passed
    with pytest.raises(DataError, match="nothing to compare"):
        compare_outputs(FakeSession(first_four, batches=(2,)), FakeSession(first_four, batches=(3,)))


def test_shapes_and_names_must_agree():
    other = FakeSession(lambda t: t.reshape(-1)[:3])
    with pytest.raises(DataError, match="has the shape"):
        compare_outputs(FakeSession(first_four), other)
    other.outputs = (TensorSpec(name="other", dtype="float32", shape=(1, 3)),)
    with pytest.raises(DataError, match="no output scores"):
        compare_outputs(FakeSession(first_four), other)


def test_inputs_follow_their_dtype_and_seed():
    specs = (TensorSpec(name="x", dtype="float32", shape=(1, 3)), TensorSpec(name="n", dtype="int64", shape=(1, 9)))
    a, b = random_inputs(specs, 1, 2, 1), random_inputs(specs, 1, 2, 1)
    assert a["x"].shape == (2, 3) and a["x"].dtype == np.float32 and a["n"].dtype == np.int64
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not np.array_equal(a["x"], random_inputs(specs, 2, 2, 1)["x"])
