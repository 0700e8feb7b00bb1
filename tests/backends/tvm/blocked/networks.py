"""Small networks of odd shapes: layers that remember their shape and how they should run.

    net = Network(channels=5, height=7, width=3)
    y = net.convolution(net.x, 13, (3, 3), pads=(1, 1, 1, 1))
    net.output(net.apply("Relu", y))
    net.graph(), net.expected     # ExportedGraph; ONNX node -> family
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from onnx import helper

from edgecls.types import ExportedGraph
from tests.models import Builder, batch_norm

Four = tuple[int, int, int, int]
Two = tuple[int, int]


class Tensor(NamedTuple):
    """blocked: a kernel of the blocked families makes it."""

    name: str
    channels: int
    height: int
    width: int
    blocked: bool = False


class Network:
    def __init__(self, channels: int, height: int, width: int, seed: int = 0, winograd: str = "direct") -> None:
        """winograd: the algorithm that 3x3 convolutions should run with."""
        self.b = Builder(seed)
        self.x = Tensor(self.b.input("x", ("batch", channels, height, width)), channels, height, width)
        self.winograd = winograd
        self.expected: dict[str, str] = {}

    def graph(self) -> ExportedGraph:
        return self.b.finish()

    def output(self, tensor: Tensor) -> None:
        self.b.output(tensor.name, f"y{len(self.b.outputs)}")

    def node(self, op: str, *inputs: str, family: str = "", **attributes: object) -> str:
        """family: how the node should run; "" leaves it open."""
        result: str = self.b.node(op, *inputs, **attributes)
        if family:
            self.expected[self.b.nodes[-1].name] = family
        return result

    # ---- windows

    def convolution(self, x: Tensor, out: int, kernel: Two, stride: Two = (1, 1), pads: Four = (0, 0, 0, 0),
                    dilation: Two = (1, 1), bias: bool = True, groups: int = 1) -> Tensor:
        h, w = extent(x, kernel, stride, pads, dilation)
        plain = wide(kernel, pads, dilation)
        family = "direct" if groups == 1 else "depthwise" if groups == out == x.channels else "grouped"
        if (kernel, stride, dilation, groups) == ((3, 3), (1, 1), (1, 1), 1) and max(pads) <= 1:
            family = self.winograd
        weights = [self.b.weight(out, x.channels // groups, *kernel)] + ([self.b.weight(out)] if bias else [])
        name = self.node("Conv", x.name, *weights, family="" if plain else family, group=groups,
                         kernel_shape=list(kernel), strides=list(stride), pads=list(pads), dilations=list(dilation))
        return Tensor(name, out, h, w, not plain)

    def depthwise(self, x: Tensor, kernel: Two, stride: Two = (1, 1), pads: Four = (0, 0, 0, 0),
                  dilation: Two = (1, 1), bias: bool = True) -> Tensor:
        return self.convolution(x, x.channels, kernel, stride, pads, dilation, bias, groups=x.channels)

    def pool(self, x: Tensor, kind: str, kernel: Two, stride: Two = (1, 1), pads: Four = (0, 0, 0, 0),
             dilation: Two = (1, 1), ceil: bool = False) -> Tensor:
        """kind: max, average or average-with-pad."""
        h, w = extent(x, kernel, stride, pads, dilation, ceil)
        blocked = x.blocked and kernel != (1, 1) and not wide(kernel, pads, dilation)
        extra: dict[str, object] = {"count_include_pad": 1} if kind == "average-with-pad" else {}
        if kind == "max":  # averages of opset 18 have none
            extra["dilations"] = list(dilation)
        name = self.node("MaxPool" if kind == "max" else "AveragePool", x.name, family="pooling" if blocked else "",
                         kernel_shape=list(kernel), strides=list(stride), pads=list(pads),
                         ceil_mode=int(ceil), **extra)
        return Tensor(name, x.channels, h, w, blocked)

    def largest(self, x: Tensor) -> Tensor:
        name = self.node("GlobalMaxPool", x.name, family="pooling" if x.blocked else "")
        return Tensor(name, x.channels, 1, 1, x.blocked)

    def mean(self, x: Tensor) -> Tensor:
        name = self.node("GlobalAveragePool", x.name, family="mean" if x.blocked else "")
        return Tensor(name, x.channels, 1, 1, x.blocked)

    def dense(self, x: Tensor, out: int) -> str:
        """Flatten and Gemm: (N, out)."""
        flat = self.node("Flatten", x.name)
        values = x.channels * x.height * x.width
        return self.node("Gemm", flat, self.b.weight(out, values), self.b.weight(out), transB=1,
                         family="direct" if x.blocked else "")

    # ---- what follows

    def apply(self, op: str, x: Tensor) -> Tensor:
        return x._replace(name=ACTIVATIONS[op](self, x.name), blocked=x.blocked and op not in DEFAULT)

    def combine(self, op: str, a: Tensor, b: Tensor) -> Tensor:
        return a._replace(name=self.node(op, a.name, b.name), blocked=a.blocked and op not in DEFAULT)

    def scale(self, x: Tensor, op: str = "Mul", first: bool = False) -> Tensor:
        """By one constant per channel, away from zero."""
        values = self.b.constant(self.b.random.uniform(1, 2, (x.channels, 1, 1)), np.float32)
        return x._replace(name=self.node(op, values, x.name) if first else self.node(op, x.name, values))

    def slopes(self, x: Tensor) -> Tensor:
        """PRelu with one slope per channel."""
        values = self.b.constant(self.b.random.uniform(-1, 2, (x.channels, 1, 1)), np.float32)
        return x._replace(name=self.node("PRelu", x.name, values))

    def batch_norm(self, x: Tensor) -> Tensor:
        return x._replace(name=batch_norm(x.name, self.b, x.channels))

    def squeeze_excite(self, x: Tensor, inner: int) -> Tensor:
        squeezed = self.apply("Relu", self.convolution(self.mean(x), inner, (1, 1)))
        gate = self.apply("Sigmoid", self.convolution(squeezed, x.channels, (1, 1)))
        return x._replace(name=self.node("Mul", x.name, gate.name))

    # ---- channels

    def concat(self, *parts: Tensor) -> Tensor:
        blocked = all(p.blocked for p in parts)
        name = self.node("Concat", *(p.name for p in parts), axis=1, family="channels" if blocked else "")
        return parts[0]._replace(name=name, channels=sum(p.channels for p in parts), blocked=blocked)

    def split(self, x: Tensor, first: int) -> tuple[Tensor, Tensor]:
        sizes = (first, x.channels - first)
        names = self.b.node("Split", x.name, self.b.constant(sizes, np.int64), outputs=2, axis=1)
        if x.blocked:
            self.expected[self.b.nodes[-1].name] = "channels"
        a, b = (x._replace(name=n, channels=c) for n, c in zip(names, sizes, strict=True))
        return a, b

    def shuffle(self, x: Tensor, groups: int) -> Tensor:
        inner = self.b.constant((0, groups, x.channels // groups, x.height, x.width), np.int64)
        outer = self.b.constant((0, x.channels, x.height, x.width), np.int64)
        turned = self.node("Transpose", self.node("Reshape", x.name, inner), perm=[0, 2, 1, 3, 4])
        return x._replace(name=self.node("Reshape", turned, outer, family="channels" if x.blocked else ""))


def _number(net: Network, value: float) -> str:
    return net.b.constant(value, np.float32)


ACTIVATIONS: dict[str, Callable[[Network, str], str]] = {
    "Relu": lambda n, x: n.node("Relu", x),
    "Clip": lambda n, x: n.node("Clip", x, _number(n, -0.5), _number(n, 0.7)),
    "ClipBelow": lambda n, x: n.node("Clip", x, _number(n, -0.1)),
    "HardSwish": lambda n, x: n.node("HardSwish", x),
    "HardSigmoid": lambda n, x: n.node("HardSigmoid", x, alpha=0.2),
    "Silu": lambda n, x: n.node("Mul", x, n.node("Sigmoid", x)),
    "Sigmoid": lambda n, x: n.node("Sigmoid", x),
    "Tanh": lambda n, x: n.node("Tanh", x),
    # of large numbers it would turn a last bit into more than any tolerance
    "Exp": lambda n, x: n.node("Exp", n.node("Min", x, _number(n, 1.0))),
    "Erf": lambda n, x: n.node("Erf", x),
    "Neg": lambda n, x: n.node("Neg", x),
    "Sqrt": lambda n, x: n.node("Sqrt", n.node("Abs", x)),
    "Halve": lambda n, x: n.node("Div", x, _number(n, 2.0)),
    "FromOne": lambda n, x: n.node("Sub", _number(n, 1.0), x),
    "Invert": lambda n, x: n.node("Div", _number(n, 1.0), n.node("Add", n.node("Sigmoid", x), _number(n, 1.0))),
    "Max": lambda n, x: n.node("Max", x, _number(n, 0.1)),
    "Min": lambda n, x: n.node("Min", _number(n, 0.2), x),
    "LeakyRelu": lambda n, x: n.node("LeakyRelu", x, alpha=0.1),
    "PRelu": lambda n, x: n.node("PRelu", x, n.b.constant([1.5], np.float32)),
    "Elu": lambda n, x: n.node("Elu", x, alpha=0.7),
    "Selu": lambda n, x: n.node("Selu", x),
    "Softplus": lambda n, x: n.node("Softplus", x),
    "Softsign": lambda n, x: n.node("Softsign", x),
    "Mish": lambda n, x: n.node("Mish", x),
    "LogOfSum": lambda n, x: n.node("Log", n.node("Add", n.node("Abs", x), _number(n, 0.5))),
    "Square": lambda n, x: n.node("Pow", x, _number(n, 2.0)),
    "Power": lambda n, x: n.node("Pow", n.node("Clip", x, _number(n, 1e-6)), _number(n, 2.87)),
    "InverseRoot": lambda n, x: n.node("Pow", n.node("Add", n.node("Exp", x), _number(n, 0.1)), _number(n, -0.5)),
    "MaxOfThree": lambda n, x: n.node("Max", x, _number(n, -0.3), n.node("Neg", x)),
    "Softmax": lambda n, x: n.node("Softmax", x, axis=1),
}


# what TVM computes
DEFAULT = ("Softmax",)


def extent(x: Tensor, kernel: Two, stride: Two, pads: Four, dilation: Two, ceil: bool = False) -> Two:
    """Height and width of what a window gives. ceil: also from a last window that reaches over the end, unless it
    would begin in the padding behind."""
    found = []
    for size, before, after, d, k, s in zip((x.height, x.width), pads[:2], pads[2:], dilation, kernel, stride,
                                            strict=True):
        left = size + before + after - d * (k - 1) - 1
        count = left // s + 1
        found.append(count + (ceil and left % s > 0 and count * s < size + before))
    return found[0], found[1]


def wide(kernel: Two, pads: Four, dilation: Two) -> bool:
    """Padding that reaches further than the window: not for the blocked families."""
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return any(p > r for p, r in zip(pads, (*reach, *reach), strict=True))


def describe(net: Network) -> str:
    """The nodes in one line each, for a failure's message."""
    return "\n".join(f"{n.name} {list(n.input)} -> {list(n.output)} "
                     f"{ {a.name: helper.get_attribute_value(a) for a in n.attribute} }" for n in net.b.nodes)
