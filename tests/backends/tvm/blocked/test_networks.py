"""Networks of odd shapes, drawn at random, answer as ONNX Runtime does."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.backends.tvm.blocked.conftest import SHARED, Check
from tests.backends.tvm.blocked.networks import Network
from tests.backends.tvm.blocked.strategies import convolution_networks, networks

# shrinking would compile hundreds of networks
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
FEW = settings(max_examples=4, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=SHARED)
MANY = settings(max_examples=300, deadline=None, phases=PHASES, suppress_health_check=SHARED)
TARGETS = st.sampled_from(["native", "x86-64-avx2"])
BATCHES = st.integers(1, 3)


@FEW
@given(net=convolution_networks(), target=TARGETS, batch=BATCHES)
def test_convolutions(net: Network, target: str, batch: int, check: Check) -> None:
    check(net, target, batch)


@FEW
@given(net=networks(), target=TARGETS, batch=BATCHES)
def test_networks(net: Network, target: str, batch: int, check: Check) -> None:
    check(net, target, batch)


@pytest.mark.slow
@MANY
@given(net=convolution_networks(), target=TARGETS, batch=BATCHES)
def test_many_convolutions(net: Network, target: str, batch: int, check: Check) -> None:
    check(net, target, batch)


@pytest.mark.slow
@MANY
@given(net=networks(), target=TARGETS, batch=BATCHES)
def test_many_networks(net: Network, target: str, batch: int, check: Check) -> None:
    check(net, target, batch)
