"""Weights so small that a processor takes a hundred cycles for each product with one do not reach our own kernels."""

from __future__ import annotations

import numpy as np
import pytest

from edgecls.backends.tvm.weights import without_subnormals
from edgecls.bundle import read_member
from edgecls.types import Artifact
from tests.backends.tvm.blocked.conftest import Check
from tests.backends.tvm.blocked.networks import Network

LEAST = np.finfo(np.float32).tiny


def subnormals(artifact: Artifact) -> int:
    """Among the weights, all of which are float32 here."""
    weights = np.abs(np.frombuffer(read_member(artifact, "weights.bin"), np.float32))
    return int(((weights > 0) & (weights < LEAST)).sum())


def test_only_subnormals_become_zero() -> None:
    given = np.array([1e-45, -1e-40, LEAST, -LEAST, 0, 1, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(without_subnormals(given), [0, 0, LEAST, -LEAST, 0, 1, np.inf, np.nan])
    assert without_subnormals(given[2:]).base is given  # nothing to do, nothing copied
    large = np.ones((3, 700_000), np.float32)
    large[2, -1] = 1e-40
    assert without_subnormals(large)[2, -1] == 0 and without_subnormals(large).sum() == large.size - 1
    whole = np.array([1, 2])
    assert without_subnormals(whole) is whole


@pytest.mark.parametrize("winograd", ["off", "f4"])
def test_weights_have_none(check: Check, winograd: str) -> None:
    net = Network(24, 9, 9, winograd="direct" if winograd == "off" else f"winograd-{winograd}")
    random, weight = np.random.default_rng(0), net.b.weight

    def sparse(*shape: int) -> str:
        """Half of them as small as the weights of channels that training has given up."""
        name: str = weight(*shape)
        if len(shape) == 1:
            return name  # biases are added
        values = np.frombuffer(net.b.constants[-1].raw_data, np.float32).copy()
        values[random.random(values.size) < 0.5] *= np.float32(1e-40)
        net.b.constants[-1].raw_data = values.tobytes()
        return name

    net.b.weight = sparse  # type: ignore[method-assign]
    x = net.apply("Relu", net.convolution(net.x, 40, (3, 3), pads=(1, 1, 1, 1)))
    x = net.apply("Silu", net.depthwise(net.convolution(x, 70, (1, 1)), (5, 5), pads=(2, 2, 2, 2)))
    net.output(x._replace(name=net.dense(net.mean(x), 10)))
    assert any((np.abs(np.frombuffer(c.raw_data, np.float32)) < LEAST).any() for c in net.b.constants)
    assert subnormals(check(net, winograd=winograd)) == 0
