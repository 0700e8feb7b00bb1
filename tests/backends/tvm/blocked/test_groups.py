"""Which nodes share a kernel, read from the layers of compiled networks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.passes import optimize_graph
from edgecls.targets import load_target
from tests.backends.tvm.blocked.conftest import Check
from tests.backends.tvm.blocked.networks import Network


def kernels(net: Network, check: Check) -> list[tuple[str, list[str]]]:
    """(family, operators) of each own kernel."""
    rows = check(net).manifest.layers
    return [(r.algorithm, [n.rsplit("_", 1)[0] for n in r.onnx_nodes]) for r in rows if r.algorithm != "convert"]


def test_an_epilogue_takes_what_follows(check: Check) -> None:
    net = Network(5, 3, 4)
    x = net.convolution(net.x, 13, (3, 3), pads=(1, 1, 1, 1))
    y = net.combine("Add", net.apply("Silu", net.scale(net.convolution(x, 13, (1, 1)))), x)
    net.output(net.apply("Relu", y))
    assert kernels(net, check) == [("direct", ["Conv"]),
                                   ("direct", ["Conv", "Mul", "Sigmoid", "Mul", "Add", "Relu"])]


def test_a_tensor_that_others_use_ends_its_group(check: Check) -> None:
    net = Network(5, 3, 4)
    x = net.convolution(net.x, 13, (1, 1))
    net.output(x)
    net.output(net.apply("Relu", x))
    assert kernels(net, check) == [("direct", ["Conv"]), ("elementwise", ["Relu"])]


def test_an_epilogue_does_not_wait_for_what_reads_it(check: Check) -> None:
    net = Network(5, 3, 4)
    x = net.convolution(net.x, 13, (1, 1))
    y = net.combine("Add", net.convolution(net.apply("Relu", x), 13, (1, 1)), x)
    net.output(y)
    assert [ops for _, ops in kernels(net, check)] == [["Conv"], ["Relu"], ["Conv", "Add"]]


def test_channels_move_once(check: Check) -> None:
    """ShuffleNetV2's unit: concatenation, shuffle and split are one kernel for each half, with what follows."""
    net = Network(5, 3, 4)
    x, y = net.convolution(net.x, 12, (1, 1)), net.convolution(net.x, 14, (1, 1))
    a, b = net.split(net.shuffle(net.concat(x, y), 2), 11)
    net.output(net.apply("Relu", a))
    net.output(net.convolution(b, 3, (1, 1)))
    moves = ("channels", ["Concat", "Reshape", "Split"])
    assert kernels(net, check)[2:4] == [moves, ("channels", [*moves[1], "Relu"])]


@pytest.mark.parametrize("winograd", ["auto", "off", "f2"])
def test_batch_sizes_share_their_weights(winograd: Literal["auto", "off", "f2"], tmp_path: Path) -> None:
    net = Network(3, 8, 8)
    x = net.convolution(net.x, 48, (3, 3), pads=(1, 1, 1, 1))
    x = net.convolution(net.convolution(x, 64, (3, 3), pads=(1, 1, 1, 1)), 64, (3, 3), groups=4)
    net.output(x._replace(name=net.dense(x, 99)))
    sizes = []
    for batches in ((1,), (1, 3, 16)):
        graph = optimize_graph(net.graph(), batches)
        artifact = TvmBackend().compile(graph, load_target("raspberry-pi-4"), CompileOptions(winograd=winograd),
                                        tmp_path / "m.ecls")
        sizes.append(artifact.manifest.weights_bytes)
    answers = (3 + 16) * 99 * 4  # of the self-test
    assert sizes[1] <= sizes[0] + answers + 2 * 64
    # what is best for one image may be another algorithm, with more weights
    assert sizes[0] <= sizes[1] or winograd == "auto"
