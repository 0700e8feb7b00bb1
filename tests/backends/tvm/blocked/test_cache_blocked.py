"""What is done for cores with two pipes: convolutions that go through their input channels block by block, on a CPU
with so small a cache that all do, and images that cores share by pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from edgecls.backends.tvm.blocked.families import cache_blocked, convolution
from edgecls.backends.tvm.blocked.window import Window
from edgecls.targets import load_target
from edgecls.types import Target
from tests.backends.tvm.blocked.conftest import SHARED, Check
from tests.backends.tvm.blocked.machines import crowded, two_pipes
from tests.backends.tvm.blocked.networks import Network
from tests.backends.tvm.blocked.strategies import windows


def this_machine() -> Target:
    # room for a block of weights for three vectors of outputs, and for few rows of sums
    return two_pipes(lambda lanes: 190 * lanes**2)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Convolutions of one input and of one another, some of groups; with residual additions, which happen in place."""
    net = Network(draw(st.integers(33, 70)), draw(st.integers(4, 17)), draw(st.integers(4, 17)),
                  seed=draw(st.integers(0, 99)))
    for _ in range(3):
        kernel, stride, pads, dilation = draw(windows(net.x, 3))
        x = net.convolution(net.x, draw(st.integers(1, 70)), kernel, stride, pads, dilation, draw(st.booleans()))
        if draw(st.booleans()) and x.height > 2 and x.width > 2:
            y = net.convolution(x, x.channels, (3, 3), pads=(1, 1, 1, 1), bias=draw(st.booleans()))
            x = net.combine("Add", x, y)
        net.output(net.apply(draw(st.sampled_from(["Relu", "Silu"])), x))
    groups = draw(st.sampled_from([1, 2]))
    both = net.concat(net.x, net.x)
    net.output(net.convolution(both, 32 * groups, (3, 3), pads=(1, 1, 1, 1), groups=groups))
    return net


@settings(max_examples=8, suppress_health_check=SHARED)
@given(net=networks(), batch=st.integers(1, 2))
def test_drawn_networks(check: Check, net: Network, batch: int) -> None:
    check(net, this_machine(), batch)


@pytest.mark.parametrize(("channels", "groups", "stride", "dilation"), [
    (40, 1, 1, 1), (77, 1, 2, 1), (64, 1, 1, 2), (96, 2, 1, 1)])
def test_such_layers_go_block_by_block(check: Check, channels: int, groups: int, stride: int, dilation: int) -> None:
    net = Network(channels, 13, 9)
    x = net.convolution(net.x, 48 * groups, (3, 3), (stride, stride), (1, 0, 2, 1), (dilation, dilation),
                        groups=groups)
    net.output(x)
    artifact = check(net, this_machine(), 2)
    layers = [layer for layer in artifact.manifest.layers if layer.kernel.startswith("conv3x3")]
    assert layers and all("in the first cache for" in layer.reason for layer in layers)


@given(ci=st.integers(1, 600), co=st.integers(1, 600), size=st.integers(1, 40), stride=st.integers(1, 3),
       kernel=st.integers(1, 5), l1d=st.integers(8_000, 100_000))
def test_a_block_and_its_band_fit_the_cache(ci: int, co: int, size: int, stride: int, kernel: int, l1d: int) -> None:
    cpu = crowded(load_target("x86-64-avx2"), l1d).cpu
    window = Window(n=1, ci=ci, co=co, h=size, w=size, kernel=(kernel, kernel), stride=(stride, stride),
                    pad=(kernel // 2,) * 4)
    decision = convolution.decide(window, cpu)
    rows, vectors = decision.strip, decision.tile[1]
    if rows:
        lanes = cpu.vector_bits // 32
        block = kernel * kernel * lanes * vectors * lanes
        sums = rows * window.ow * vectors * lanes
        image = min((rows - 1) * stride + kernel, size) * size * lanes
        assert 4 * (block + sums + image) <= l1d < 4 * block * -(-ci // lanes)


def test_one_pipe_and_one_column_take_all_channels_at_once() -> None:
    window = Window(n=1, ci=512, co=512, h=7, w=7, kernel=(3, 3), pad=(1, 1, 1, 1))
    cpu = crowded(load_target("x86-64-avx2"), 48_000).cpu
    tile = convolution.decide(window, cpu).tile
    assert cache_blocked.band(window, tile, cpu) == 7
    assert cache_blocked.band(window, tile, structs.replace(cpu, fma_pipes=1)) == 0
    assert cache_blocked.band(structs.replace(window, kernel=(1, 1), pad=(0, 0, 0, 0)), tile, cpu) == 0
    assert cache_blocked.band(structs.replace(window, ci=16), tile, cpu) == 0
    assert cache_blocked.band(window, tile, load_target("raspberry-pi-4").cpu) == 0


@settings(max_examples=8, suppress_health_check=SHARED)
@given(height=st.integers(9, 20), width=st.integers(9, 20), channels=st.integers(20, 90), cores=st.integers(1, 5),
       more=st.integers(0, 40), seed=st.integers(0, 99))
def test_images_in_pieces(check: Check, height: int, width: int, channels: int, cores: int, more: int,
                          seed: int) -> None:
    machine = this_machine()
    machine = structs.replace(machine, cpu=structs.replace(machine.cpu, cores=cores))
    net = Network(channels + more, height, width, seed=seed)
    x = net.apply("Relu", net.convolution(net.x, channels, (1, 1)))
    net.output(net.combine("Add", net.convolution(x, channels, (1, 1), bias=False), x))
    net.output(net.convolution(x, max(1, channels // 3), (1, 1)))
    check(net, machine)


def test_cores_take_pieces_of_what_is_too_small_for_rows() -> None:
    cpu = crowded(load_target("x86-64-avx2"), 48_000).cpu
    cpu = structs.replace(cpu, cores=2)
    tokens = Window(n=1, ci=1536, co=384, h=197, w=1, kernel=(1, 1))
    assert convolution.pieces_of(tokens, cpu) == 2
    for other in ({"n": 2}, {"co": 1537}, {"h": 100}, {"co": 400}):
        assert convolution.pieces_of(structs.replace(tokens, **other), cpu) == 1
    assert convolution.pieces_of(tokens, structs.replace(cpu, fma_pipes=1)) == 1
    assert convolution.pieces_of(tokens, structs.replace(cpu, cores=4)) == 1
