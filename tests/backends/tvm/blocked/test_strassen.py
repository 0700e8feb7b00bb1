"""Pointwise convolutions by Strassen's algorithm: right for every image and number of channels it can be used for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.backends.tvm.blocked.families import strassen
from edgecls.backends.tvm.blocked.window import Window
from edgecls.passes import optimize_graph
from edgecls.targets import load_target
from tests.backends.tvm.blocked.conftest import SHARED, Check, target_of
from tests.backends.tvm.blocked.fixed import linear
from tests.backends.tvm.blocked.networks import Network

TARGETS = ("native", "x86-64-avx2")


@settings(max_examples=12, suppress_health_check=SHARED)
@given(height=st.integers(1, 13), width=st.integers(2, 11), blocks=st.tuples(st.integers(1, 4), st.integers(1, 7)),
       missing=st.integers(0, 7), bias=st.booleans(), after=st.sampled_from(["", "Relu", "Silu", "Tanh"]),
       residual=st.booleans(), batch=st.integers(1, 3), target=st.sampled_from(TARGETS))
def test_odd_images_and_channels(check: Check, height: int, width: int, blocks: tuple[int, int], missing: int,
                                 bias: bool, after: str, residual: bool, batch: int, target: str) -> None:
    """missing: outputs that fill their last vector up."""
    cpu = target_of(target).cpu
    unit = 2 * cpu.vector_bits // 32
    net = Network(unit * blocks[0], height, width)
    out = unit * blocks[1] - missing % (unit // 2)
    x = net.convolution(net.x, out, (1, 1))
    net.expected.clear()
    y = net.convolution(net.x, out, (1, 1), bias=bias)
    net.expected[net.b.nodes[-1].name] = "strassen" if cpu.arch == "x86_64" else "direct"
    if residual:
        y = net.combine("Add", y, x)
    net.output(net.apply(after, y) if after else y)
    check(net, target, batch, strassen="on")


@pytest.mark.parametrize("target", TARGETS)
def test_what_follows_and_what_is_read_again(check: Check, target: str) -> None:
    check(linear(), target, 2, strassen="on")


def test_all_batch_sizes_share_the_weights(tmp_path: Path) -> None:
    options, target = CompileOptions(strassen="on"), load_target("x86-64-avx2")
    net = Network(64, 7, 7)
    net.output(net.mean(net.convolution(net.convolution(net.x, 96, (1, 1)), 64, (1, 1))))
    one, several = (TvmBackend().compile(optimize_graph(net.graph(), batches), target, options,
                                         tmp_path / f"{len(batches)}.ecls").manifest
                    for batches in ((1,), (1, 3, 8)))
    assert {row.algorithm for row in several.layers if row.batch == 8} >= {"strassen"}
    assert several.weights_bytes <= one.weights_bytes + 8192  # the answers of the self-test


@given(rows=st.integers(1, 40), inputs=st.integers(1, 40), outputs=st.integers(1, 81), outlier=st.floats(1.0, 1e4))
def test_outputs_of_any_size_are_as_exact(rows: int, inputs: int, outputs: int, outlier: float) -> None:
    """Each beside its own largest result: also one whose weights are much larger than all others'."""
    random = np.random.default_rng(0)
    sample = random.standard_normal((2 * rows, 2 * inputs)).astype(np.float32)
    weights = random.standard_normal((outputs, 2 * inputs)).astype(np.float32)
    exact = strassen.relative_error(weights, sample)
    weights[0] *= np.float32(2.0 ** round(math.log2(outlier)))
    assert strassen.relative_error(weights, sample) == pytest.approx(exact, rel=1e-6)


def test_an_input_that_is_much_larger_than_the_others_shows_in_the_error() -> None:
    """By its weights, which are much smaller; none at all are no sign of that."""
    weights = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    plain = strassen.error(weights, 32)
    weights[:, 3] = 0
    assert strassen.error(weights, 32) < 2 * plain < 1e-5
    weights[:, 3] = 1e-5
    assert strassen.error(weights, 32) > 1e-4


@pytest.mark.parametrize("spread", [0.0, 5.0])
def test_channels_that_differ_in_size(check: Check, spread: float) -> None:
    """As those of folded batch norms do: what comes next brings them back to one size."""
    net = Network(64, 7, 7)
    scale = 10.0 ** np.random.default_rng(1).uniform(-spread, 0, 64)
    large = net.node("Conv", net.x.name, net.b.constant(
        net.b.random.standard_normal((64, 64, 1, 1)) * scale[:, None, None, None], np.float32), kernel_shape=[1, 1])
    even = net.node("Mul", net.node("Relu", large), net.b.constant(1 / scale[:, None, None], np.float32))
    net.output(net.x._replace(name=even))
    artifact = check(net, "native", strassen="on")
    assert all((row.error is not None) == (row.algorithm == "strassen") for row in artifact.manifest.layers)


def test_packed_weights_are_no_more_than_the_networks() -> None:
    window = Window(n=1, ci=64, co=96, h=5, w=5, kernel=(1, 1))
    cpu = load_target("x86-64-avx512").cpu
    weights = np.random.default_rng(0).standard_normal((96, 64, 1, 1)).astype(np.float32)
    packed = strassen.pack(weights, strassen.decide(window, cpu), 16)
    assert packed.dtype == np.float32 and packed.size == weights.size + 96
