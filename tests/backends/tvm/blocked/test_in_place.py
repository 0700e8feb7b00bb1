"""A result replaces the operand that nobody reads any more, and only that one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from edgecls.backends.tvm import CompileOptions
from edgecls.backends.tvm.call_plan import Slot
from edgecls.backends.tvm.environment import tvm_target
from edgecls.backends.tvm.lower import lower
from edgecls.backends.tvm.providers import SimpleProvider
from edgecls.backends.tvm.weights import WeightStore
from edgecls.passes import optimize_graph
from edgecls.targets import load_target
from tests.backends.tvm.blocked.conftest import Check
from tests.backends.tvm.blocked.networks import Network

PADS = (1, 1, 1, 1)


def overwriting(net: Network, folder: Path, winograd: Literal["off", "f4"] = "off") -> list[str]:
    """The kernels that write over what they read, in order."""
    target = load_target("raspberry-pi-4")
    with WeightStore(folder / "weights.bin") as store:
        low = lower(optimize_graph(net.graph()).onnx[1], 1, (1,), target, tvm_target(target), store,
                    SimpleProvider(), CompileOptions(winograd=winograd))
    found = []
    for call in low.plan.calls:
        slots = [p.buffer for p in call.places if isinstance(p, Slot)]
        if set(slots[:-1]) & set(slots[-1:]):
            found.append(call.kernel.rsplit("_", 2)[0])
    return found


def residuals(winograd: str = "direct", height: int = 7, width: int = 8) -> Network:
    """Residual additions behind every family that can overwrite, each sum read twice."""
    net = Network(5, height, width, winograd=winograd)
    x = net.convolution(net.x, 13, (1, 1))
    x = net.apply("Relu", net.combine("Add", net.convolution(net.convolution(x, 9, (1, 1)), 13, (1, 1)), x))
    x = net.combine("Add", x, net.convolution(net.convolution(x, 9, (1, 1)), 13, (3, 3), pads=PADS))
    x = net.combine("Add", net.depthwise(net.convolution(x, 13, (1, 1)), (5, 3), pads=(2, 1, 2, 1)), x)
    net.output(net.mean(net.squeeze_excite(x, 3)))
    return net


def tiles(count: int) -> Network:
    """A residual addition behind a convolution by F(4x4) on one row of tiles."""
    net = Network(40, 4, 4 * count, winograd="winograd-f4")
    x = net.convolution(net.x, 72, (1, 1))
    net.output(net.combine("Add", net.convolution(net.convolution(x, 72, (1, 1)), 72, (3, 3), pads=PADS), x))
    return net


MAKERS: dict[str, tuple[Callable[[], Network], str]] = {
    "direct": (residuals, "off"), "f2": (lambda: residuals("winograd-f2"), "f2"), "one strip": (lambda: tiles(4), "f4"),
    "strips that overlap": (lambda: tiles(101), "f4")}


def test_each_family_overwrites_its_last_operand(tmp_path: Path) -> None:
    assert overwriting(residuals(), tmp_path) == ["conv1x1", "conv3x3", "depthwise5x3", "elementwise"]


def test_an_operand_that_is_read_again_stays(tmp_path: Path) -> None:
    net = Network(5, 7, 8)
    result, later, neighbours = (net.convolution(net.x, 13, (1, 1)) for _ in range(3))
    inner = [net.convolution(net.convolution(x, 9, (1, 1)), 13, (1, 1)) for x in (result, later)]
    net.output(net.combine("Add", inner[0], result))
    net.output(net.combine("Mul", inner[1], later))
    net.output(net.convolution(later, 7, (3, 3), pads=PADS))
    net.output(net.combine("Add", net.convolution(neighbours, 13, (3, 3), pads=PADS), neighbours))
    net.output(result)
    assert overwriting(net, tmp_path) == []


def test_tiles_that_are_computed_twice_overwrite_nothing(tmp_path: Path) -> None:
    """101 tiles are too many for the cache at once, and no number of strips divides them."""
    assert overwriting(tiles(4), tmp_path, "f4") == ["conv3x3_f4"]
    assert overwriting(tiles(101), tmp_path, "f4") == []


@pytest.mark.parametrize(("name", "target", "batch"), [
    *((name, "native", batch) for name in MAKERS for batch in (1, 3)), ("direct", "armv7", 1)])
def test_results_are_onnx_runtimes(name: str, target: str, batch: int, check: Check) -> None:
    maker, winograd = MAKERS[name]
    check(maker(), target, batch, winograd)
