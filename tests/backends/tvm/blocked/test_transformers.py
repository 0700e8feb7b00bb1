"""Attention networks of odd shapes answer as ONNX Runtime does, on every target; ARM is executed by qemu."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edgecls.backends.tvm import TvmBackend
from edgecls.interfaces import Device
from tests.backends.tvm.blocked.conftest import BOARDS, SHARED, Check
from tests.backends.tvm.blocked.networks import Tensor
from tests.backends.tvm.blocked.transformers import NETWORKS, Transformer, transformers
from tests.models import random_feed

# shrinking would compile hundreds of networks
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
FEW = settings(max_examples=4, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=SHARED)
MANY = settings(max_examples=200, deadline=None, phases=PHASES, suppress_health_check=SHARED)
QUICK = {*(("native", n) for n in NETWORKS), ("raspberry-pi-4", "windows"), ("raspberry-pi-4", "products"),
         ("armv7", "plain"), ("armv7", "gated")}
CASES = [pytest.param(target, name, id=f"{target}-{name}",
                      marks=() if (target, name) in QUICK else pytest.mark.slow)
         for target in ("native", "x86-64-avx2", *BOARDS) for name in NETWORKS]
DRAWN = st.integers(1, 3).flatmap(lambda batch: st.tuples(transformers(batch), st.just(batch)))


@pytest.mark.parametrize(("target", "name"), CASES)
def test_network(target: str, name: str, check: Check) -> None:
    check(NETWORKS[name](2), target, batch=2)


def test_tokens_that_nobody_reads_are_not_computed(check: Check) -> None:
    """The last block of `plain` is read through its class token: only its keys and values need the others."""
    net = NETWORKS["plain"](2)
    layers = check(net, batch=2).manifest.layers
    products = [n.name for n in net.b.nodes if n.op_type == "MatMul"]
    flops = {name: sum(row.flops for row in layers if name in row.onnx_nodes) for name in products}
    tokens = {name: flops[name] // 2 // 2 // size for name, size in zip(
        products, [19 * 72, 0, 0, 24 * 19, 19 * 21, 21 * 19, 19 * 10, 19 * 10, 19 * 10, 0, 0, 10 * 19, 19 * 13, 13 * 19,
                   19 * 7], strict=True) if size}
    assert list(tokens.values()) == [36] * 4 + [1, 36, 36] + [1] * 4


@pytest.mark.parametrize("name", ["plain", "windows"])
def test_threads_do_not_change_a_bit(name: str, check: Check, devices: Callable[[str], Device]) -> None:
    net = NETWORKS[name](2)
    artifact = check(net, batch=2)
    answers = []
    for threads in (1, 2, 4):
        with TvmBackend().open_session(artifact, devices("native"), threads) as session:
            answers.append([a.tobytes() for a in session.run(random_feed(net.graph(), 2)).values()])
    assert answers[0] == answers[1] == answers[2]


@FEW
@given(drawn=DRAWN, target=st.sampled_from(["native", "x86-64-avx2"]))
def test_drawn(drawn: tuple[Transformer, int], target: str, check: Check) -> None:
    net, batch = drawn
    check(net, target, batch)


@settings(FEW, max_examples=2)
@given(drawn=DRAWN, target=st.sampled_from(BOARDS))
def test_drawn_on_boards(drawn: tuple[Transformer, int], target: str, check: Check) -> None:
    net, batch = drawn
    check(net, target, batch)


SIDES = st.tuples(st.integers(1, 3), st.integers(1, 40), *[st.integers(1, 70)] * 2)


def product(matrices: int, rows: int, inner: int, columns: int) -> Transformer:
    """Per image (matrices, columns, rows) x (matrices, rows, inner), and what comes of it as second factor."""
    t = Transformer(2, 2, rows + 1)
    left, right = (t.dense(t.embed(5), matrices * size) for size in (inner, columns))
    first = t.transpose(t.reshape(left.name, -1, rows, matrices, inner), 0, 2, 1, 3)
    turned = t.transpose(t.reshape(right.name, -1, rows, matrices, columns), 0, 2, 3, 1)
    scores = t.node("MatMul", turned, first)
    t.output(Tensor(scores, matrices, columns, inner))
    t.output(Tensor(t.node("MatMul", first, t.transpose(scores, 0, 1, 3, 2)), matrices, rows, columns))
    return t


@pytest.mark.parametrize("target", ["native", *BOARDS])
@settings(FEW, max_examples=2)
@given(sides=SIDES)
def test_drawn_products(sides: tuple[int, int, int, int], target: str, check: Check) -> None:
    matrices, rows, inner, columns = sides
    layers = check(product(*sides), target, 2).manifest.layers
    assert [row.flops for row in layers if row.algorithm == "matmul" and row.flops] == [
        2 * 2 * matrices * rows * inner * columns] * 2


@pytest.mark.parametrize("target", ["native", "raspberry-pi-4"])
def test_products_without_anything_else(target: str, check: Check) -> None:
    """No convolution and no linear layer: every row of an image with every other row."""
    t = Transformer(5, 6, 7)
    turned = t.transpose(t.x.name, 0, 1, 3, 2)
    t.output(Tensor(t.node("MatMul", t.x.name, turned, family="matmul"), 5, 6, 6))
    check(t, target, 2)


@pytest.mark.slow
@MANY
@given(sides=SIDES, target=st.sampled_from(["native", "x86-64-avx2", *BOARDS]))
def test_many_drawn_products(sides: tuple[int, int, int, int], target: str, check: Check) -> None:
    check(product(*sides), target, 2)


@pytest.mark.slow
@MANY
@given(drawn=DRAWN, target=st.sampled_from(["native", "x86-64-avx2", *BOARDS]))
def test_many_drawn(drawn: tuple[Transformer, int], target: str, check: Check) -> None:
    net, batch = drawn
    check(net, target, batch)
