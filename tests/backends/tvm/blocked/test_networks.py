"""Networks of odd shapes, drawn at random, answer as ONNX Runtime does; ARM is executed by qemu."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edgecls.backends.tvm import TvmBackend
from edgecls.interfaces import Device
from tests.backends.tvm.blocked.conftest import BOARDS, SHARED, Check, transform_on_device
from tests.backends.tvm.blocked.networks import Network
from tests.backends.tvm.blocked.strategies import convolution_networks, networks, winograd_networks
from tests.models import random_feed

# shrinking would compile hundreds of networks
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
FEW = settings(max_examples=4, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=SHARED)
MANY = settings(max_examples=300, deadline=None, phases=PHASES, suppress_health_check=SHARED)
TARGETS = st.sampled_from(["native", "x86-64-avx2"])
ALL_TARGETS = st.sampled_from(["native", "x86-64-avx2", *BOARDS])
BATCHES = st.integers(1, 3)


@FEW
@given(net=convolution_networks(), target=TARGETS, batch=BATCHES)
def test_convolutions(net: Network, target: str, batch: int, check: Check) -> None:
    check(net, target, batch)


@FEW
@given(net=networks(), target=TARGETS, batch=BATCHES)
def test_networks(net: Network, target: str, batch: int, check: Check) -> None:
    check(net, target, batch)


@FEW
@given(net=st.one_of(convolution_networks(), networks()), target=st.sampled_from(BOARDS), batch=BATCHES)
def test_boards(net: Network, target: str, batch: int, check: Check) -> None:
    check(net, target, batch)


@FEW
@given(data=st.data(), m=st.sampled_from(["f2", "f4", "f6"]), target=TARGETS, batch=BATCHES)
def test_winograd_that_transforms_its_weights(data: st.DataObject, m: str, target: str, batch: int, check: Check,
                                              devices: Callable[[str], Device]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        transform_on_device(monkeypatch)
        net = data.draw(winograd_networks(m))
        artifact = check(net, target, batch, m)
    feed, answers = random_feed(net.graph(), batch), []
    for threads in (1, 2, 3, 4):
        with TvmBackend().open_session(artifact, devices(target), threads) as session:
            answers.append(session.run(feed))
    assert all((answers[0][name] == other[name]).all() for other in answers for name in answers[0])


@pytest.mark.slow
@MANY
@given(net=convolution_networks(), target=ALL_TARGETS, batch=BATCHES)
def test_many_convolutions(net: Network, target: str, batch: int, check: Check) -> None:
    check(net, target, batch)


@pytest.mark.slow
@MANY
@given(net=networks(), target=ALL_TARGETS, batch=BATCHES)
def test_many_networks(net: Network, target: str, batch: int, check: Check) -> None:
    check(net, target, batch)
