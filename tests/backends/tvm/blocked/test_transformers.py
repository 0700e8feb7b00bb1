"""Attention networks of odd shapes answer as ONNX Runtime does, on every target; ARM is executed by qemu."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.backends.tvm.blocked.conftest import BOARDS, SHARED, Check
from tests.backends.tvm.blocked.transformers import NETWORKS, transformers

# shrinking would compile hundreds of networks
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
FEW = settings(max_examples=4, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=SHARED)
MANY = settings(max_examples=200, deadline=None, phases=PHASES, suppress_health_check=SHARED)
QUICK = {("native", n) for n in NETWORKS} | {("raspberry-pi-4", "windows"), ("armv7", "plain"), ("armv7", "gated")}
CASES = [pytest.param(target, name, id=f"{target}-{name}",
                      marks=() if (target, name) in QUICK else pytest.mark.slow)
         for target in ("native", "x86-64-avx2", *BOARDS) for name in NETWORKS]
DRAWN = st.integers(1, 3).flatmap(lambda batch: st.tuples(transformers(batch), st.just(batch)))


@pytest.mark.parametrize(("target", "name"), CASES)
def test_network(target: str, name: str, check: Check) -> None:
    check(NETWORKS[name](2), target, batch=2)


@FEW
@given(drawn=DRAWN, target=st.sampled_from(["native", "x86-64-avx2"]))
def test_drawn(drawn: tuple[object, int], target: str, check: Check) -> None:
    net, batch = drawn
    check(net, target, batch)


@pytest.mark.slow
@MANY
@given(drawn=DRAWN, target=st.sampled_from(["native", "x86-64-avx2", *BOARDS]))
def test_many_drawn(drawn: tuple[object, int], target: str, check: Check) -> None:
    net, batch = drawn
    check(net, target, batch)
