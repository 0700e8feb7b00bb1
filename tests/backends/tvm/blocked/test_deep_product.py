"""Convolutions with kernels of one pixel that go through a chunk of their input channels at a time, on a CPU with so
small a cache that all with many channels do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from edgecls.backends.tvm.blocked.families import convolution
from edgecls.backends.tvm.blocked.window import Window
from edgecls.targets import load_target
from edgecls.types import Target
from tests.backends.tvm.blocked.conftest import SHARED, Check
from tests.backends.tvm.blocked.machines import crowded, two_pipes
from tests.backends.tvm.blocked.networks import Network


def this_machine(cores: int = 2, pixels: int = 80) -> Target:
    """pixels: whose sums in three vectors have room."""
    machine = two_pipes(lambda lanes: pixels * 3 * lanes * 4)
    return structs.replace(machine, cpu=structs.replace(machine.cpu, cores=cores))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Pointwise convolutions of many channels, strided ones, some of groups; with residual additions, which happen in
    place, and polynomials behind them."""
    net = Network(draw(st.integers(120, 330)), draw(st.integers(4, 12)), draw(st.integers(4, 12)),
                  seed=draw(st.integers(0, 99)))
    for _ in range(2):
        stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        x = net.convolution(net.x, draw(st.integers(1, 170)), (1, 1), stride, bias=draw(st.booleans()))
        net.output(net.apply(draw(st.sampled_from(["Relu", "Silu", "HardSwish"])), x))
    x = net.apply("Relu", net.convolution(net.x, draw(st.integers(100, 300)), (1, 1)))
    net.output(net.combine("Add", x, net.convolution(x, x.channels, (1, 1), bias=draw(st.booleans()))))
    both = net.concat(x, x)
    net.output(net.convolution(both, 96, (1, 1), groups=draw(st.sampled_from([1, 2]))))
    return net


@settings(max_examples=8, suppress_health_check=SHARED)
@given(net=networks(), batch=st.integers(1, 2), cores=st.integers(1, 3))
def test_drawn_networks(check: Check, net: Network, batch: int, cores: int) -> None:
    check(net, this_machine(cores), batch)


@pytest.mark.parametrize(("channels", "groups", "stride", "size"), [
    (400, 1, 1, (7, 7)), (413, 1, 1, (13, 5)), (333, 1, 2, (13, 13)), (640, 2, 1, (7, 7))])
def test_such_layers_go_chunk_by_chunk(check: Check, channels: int, groups: int, stride: int,
                                       size: tuple[int, int]) -> None:
    net = Network(channels, *size)
    net.output(net.convolution(net.x, 48 * groups, (1, 1), (stride, stride), groups=groups))
    artifact = check(net, this_machine(), 2)
    layers = [layer for layer in artifact.manifest.layers if layer.kernel.startswith("conv1x1")]
    assert layers and all("in the first cache for all pixels" in layer.reason for layer in layers)


def test_cores_share_the_pixels(check: Check) -> None:
    """Of 133 pixels, as pieces of some tiles."""
    machine = this_machine(pixels=140)
    window = Window(n=1, ci=700, co=40, h=19, w=7, kernel=(1, 1))
    decision = convolution.decide(window, machine.cpu)
    assert decision.chunk and convolution.pieces_of(window, machine.cpu) == 2
    net = Network(700, 19, 7)
    x = net.convolution(net.x, 40, (1, 1))
    net.output(net.combine("Add", net.apply("Silu", x), x))
    check(net, machine)


@given(ci=st.integers(1, 3000), co=st.integers(1, 600), size=st.integers(1, 40), stride=st.integers(1, 3),
       l1d=st.integers(8_000, 100_000))
def test_a_chunk_fits_the_cache_and_so_do_the_sums(ci: int, co: int, size: int, stride: int, l1d: int) -> None:
    cpu = crowded(load_target("x86-64-avx2"), l1d).cpu
    window = Window(n=1, ci=ci, co=co, h=size, w=size, kernel=(1, 1), stride=(stride, stride))
    decision = convolution.decide(window, cpu)
    lanes, (_, vectors) = cpu.vector_bits // 32, decision.tile
    if decision.chunk:
        assert decision.chunk % lanes == 0
        assert lanes <= decision.chunk < ci + lanes
        assert 4 * decision.chunk * vectors * lanes <= l1d / 2
        assert 4 * window.oh * window.ow * vectors * lanes <= l1d < 4 * ci * vectors * lanes


def test_who_takes_all_channels_at_once() -> None:
    cpu = crowded(load_target("x86-64-avx2"), 48_000).cpu
    window = Window(n=1, ci=2048, co=512, h=7, w=7, kernel=(1, 1))
    assert convolution.decide(window, cpu).chunk > 0
    assert convolution.decide(structs.replace(window, stride=(2, 2), h=14, w=14), cpu).chunk > 0
    for other in ({"ci": 64}, {"h": 100, "w": 100}, {"h": 2, "w": 2}, {"kernel": (3, 3)}, {"pad": (1, 1, 1, 1)}):
        assert convolution.decide(structs.replace(window, **other), cpu).chunk == 0
    assert convolution.decide(window, structs.replace(cpu, fma_pipes=1)).chunk == 0
    assert convolution.decide(window, load_target("raspberry-pi-4").cpu).chunk == 0
