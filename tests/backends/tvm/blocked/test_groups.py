"""Which nodes share a kernel, read from the layers of compiled networks."""

from __future__ import annotations

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
