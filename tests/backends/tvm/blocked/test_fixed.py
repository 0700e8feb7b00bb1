"""The fixed networks on every target; ARM is executed by qemu."""

from __future__ import annotations

import pytest

from edgecls.backends.tvm.blocked.families import convolution
from tests.backends.tvm.blocked.conftest import BOARDS, Check, transform_on_device
from tests.backends.tvm.blocked.fixed import NETWORKS, functions_behind, products
from tests.backends.tvm.blocked.networks import ACTIVATIONS

BIG = ("windows", "groups", "epilogues", "mixed")
CASES = [pytest.param(target, name, id=f"{target}-{name}",
                      marks=pytest.mark.slow if target == "x86-64-avx2" or (target in BOARDS and name in BIG) else ())
         for target in ("native", "x86-64-avx2", *BOARDS) for name in NETWORKS]


@pytest.mark.parametrize(("target", "name"), CASES)
def test_network(target: str, name: str, check: Check) -> None:
    check(NETWORKS[name](), target, batch=11 if name == "dense" else 2)


@pytest.mark.slow
@pytest.mark.parametrize("first", ACTIVATIONS)
@pytest.mark.parametrize("target", ["native", *BOARDS])
def test_functions_behind_one_another(target: str, first: str, check: Check) -> None:
    check(functions_behind(first), target, batch=2)


@pytest.mark.parametrize("name", ["windows", "small"])
@pytest.mark.parametrize(("target", "half"), [("native", False), ("native", True), ("x86-64-avx2", True)])
def test_half_vectors(target: str, half: bool, name: str, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's processor prefers."""
    monkeypatch.setattr(convolution, "halves", lambda cpu: half)
    check(NETWORKS[name](), target, batch=2)


@pytest.mark.parametrize("m", ["f2", "f4", "f6"])
@pytest.mark.parametrize("target", ["native", *BOARDS])
def test_winograd(target: str, m: str, check: Check) -> None:
    check(products(m), target, batch=2, winograd=m)


@pytest.mark.parametrize("m", ["f2", "f4", "f6"])
@pytest.mark.parametrize("target", ["native", *BOARDS])
def test_winograd_that_transforms_its_weights(target: str, m: str, check: Check,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    transform_on_device(monkeypatch)
    artifact = check(products(m), target, batch=2, winograd=m)
    rows = [row for row in artifact.manifest.layers if row.algorithm == f"winograd-{m}"]
    assert rows and all("on the device" in row.reason for row in rows)
