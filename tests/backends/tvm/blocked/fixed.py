"""Networks that are always the same: what every target executes."""

from __future__ import annotations

from collections.abc import Callable

from tests.backends.tvm.blocked.networks import ACTIVATIONS, Network, Tensor


def windows() -> Network:
    """Direct and depthwise convolutions of every awkward kind, on a planar and on a blocked input."""
    net = Network(3, 9, 11)
    wide = net.convolution(net.x, 13, (1, 1))
    for x in (net.x, wide):
        for out, kernel, stride, pads, dilation in (
                (1, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)), (40, (1, 1), (3, 2), (0, 0, 0, 0), (1, 1)),
                (13, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), (17, (2, 4), (1, 1), (0, 1, 1, 2), (1, 1)),
                (7, (3, 5), (3, 1), (0, 2, 2, 0), (2, 2)), (21, (7, 7), (2, 2), (3, 3, 3, 3), (1, 1)),
                (5, (9, 11), (1, 1), (0, 0, 0, 0), (1, 1)), (70, (9, 11), (1, 1), (0, 0, 0, 0), (1, 1)),
                (4, (6, 1), (1, 3), (5, 0, 5, 0), (1, 1))):
            net.output(net.convolution(x, out, kernel, stride, pads, dilation, bias=out % 2 == 0))
            net.output(net.depthwise(x, kernel, stride, pads, dilation, bias=out % 2 == 1))
    return net


def groups() -> Network:
    """Groups of whole vectors on some targets, of parts of them on others, and of sizes that no block begins with."""
    net = Network(12, 5, 7)
    wide, odd = net.convolution(net.x, 64, (1, 1)), net.convolution(net.x, 39, (1, 1), bias=False)
    same = (1, 1, 1, 1)
    for number, out in ((2, 64), (4, 96), (8, 64), (16, 64), (32, 32), (2, 6), (64, 128)):
        y = net.scale(net.convolution(wide, out, (3, 3), pads=same, groups=number, bias=number % 8 == 0))
        net.output(net.apply("Relu", net.combine("Add", y, wide) if out == 64 else y))
    for number, out, stride, pads, dilation in (
            (3, 21, (1, 1), same, (1, 1)), (13, 65, (2, 3), (0, 2, 1, 1), (1, 1)),
            (39, 78, (1, 1), (2, 2, 2, 2), (2, 2)),
            (13, 13, (1, 2), same, (1, 1)), (39, 117, (3, 1), (1, 0, 0, 1), (1, 1))):
        net.output(net.apply("HardSwish", net.convolution(odd, out, (3, 3), stride, pads, dilation, groups=number)))
    net.output(net.convolution(wide, 48, (1, 1), groups=4))
    net.output(net.convolution(odd, 33, (2, 4), groups=3))
    net.output(net.convolution(net.x, 24, (3, 3), groups=4))
    return net


def blocks() -> Network:
    """Weights that outgrow a first cache, so that two pipes take them block by block, and images to cut in pieces."""
    net = Network(100, 13, 11)
    x = net.convolution(net.x, 70, (3, 3), pads=(1, 1, 1, 1))
    net.output(net.convolution(x, 70, (3, 3), pads=(1, 0, 2, 1)))
    net.output(net.combine("Add", x, net.convolution(x, 70, (3, 3), pads=(1, 1, 1, 1))))
    net.output(net.convolution(net.concat(net.x, net.x), 90, (3, 3), (2, 2), (1, 1, 1, 1)))
    net.output(net.convolution(net.x, 90, (1, 1)))
    deep = net.convolution(net.x, 1003, (1, 1))
    net.output(net.convolution(deep, 50, (1, 1)))
    net.output(net.convolution(deep, 96, (1, 1), (2, 3)))
    return net


def linear() -> Network:
    """Pointwise convolutions whose halves are whole vectors, of an odd and of an even image, and what follows them."""
    net = Network(64, 7, 7)
    x = net.convolution(net.x, 96, (1, 1))
    y = net.combine("Add", net.convolution(net.convolution(x, 120, (1, 1)), 96, (1, 1), bias=False), x)
    net.output(net.apply("Silu", net.convolution(y, 64, (1, 1))))
    net.output(net.apply("Erf", net.convolution(net.pool(y, "max", (2, 2), (1, 1)), 32, (1, 1))))
    net.output(y)
    net.expected.clear()  # which way they run is not for them to say
    return net


def small() -> Network:
    """One pixel, one channel, and images smaller than the window."""
    net = Network(1, 1, 3)
    x = net.convolution(net.x, 5, (3, 3), pads=(1, 1, 1, 1))
    net.output(net.convolution(x, 1, (5, 5), pads=(4, 4, 4, 4), stride=(2, 3)))
    net.output(net.depthwise(x, (3, 7), pads=(2, 6, 2, 6), dilation=(1, 1)))
    net.output(net.pool(x, "max", (2, 2), pads=(1, 1, 1, 1)))
    one = net.convolution(x, 33, (1, 3), bias=False)
    net.output(net.convolution(one, 16, (3, 3), pads=(1, 1, 1, 1)))
    net.output(one._replace(name=net.dense(one, 1)))
    return net


def poolings() -> Network:
    net = Network(4, 13, 7)
    x = net.convolution(net.x, 19, (3, 3), pads=(1, 1, 1, 1))
    for kind in ("max", "average", "average-with-pad"):
        net.output(net.pool(x, kind, (3, 3), (2, 2), (1, 1, 1, 1)))
        net.output(net.apply("Relu", net.pool(x, kind, (2, 5), (3, 1), (0, 2, 0, 2))))
        net.output(net.pool(x, kind, (4, 2), (1, 2), (3, 0, 1, 1)))
        net.output(net.pool(x, kind, (13, 7)))
        net.output(net.pool(x, kind, (3, 3), (2, 2), ceil=True))
        net.output(net.pool(x, kind, (3, 2), (3, 2), (1, 0, 0, 1), ceil=True))
    net.output(net.pool(x, "max", (3, 2), (2, 1), (2, 0, 1, 1), dilation=(2, 3)))
    net.output(net.apply("Relu", net.largest(x)))
    net.output(net.scale(net.mean(x)))
    net.output(net.mean(net.x))
    return net


def epilogues() -> Network:
    """Every function behind convolution, Winograd, depthwise, pooling, mean and dense."""
    net = Network(6, 5, 7)
    x = net.convolution(net.x, 13, (3, 3), pads=(1, 1, 1, 1))
    makers: list[Callable[[Tensor], Tensor]] = [
        lambda t: net.convolution(t, 13, (1, 1)),
        lambda t: net.convolution(t, 9, (3, 3), pads=(1, 1, 1, 1), bias=False),
        lambda t: net.depthwise(t, (3, 3), pads=(1, 1, 1, 1)), lambda t: net.pool(t, "max", (2, 2)), net.mean]
    for i, op in enumerate(ACTIVATIONS):
        y = makers[i % len(makers)](x)
        net.output(net.apply(op, net.scale(y, ("Mul", "Add", "Sub", "Div")[i % 4], first=i % 4 < 3 and i % 3 == 0)))
    net.output(net.apply("Relu", net.combine("Add", net.convolution(x, 13, (1, 1)), x)))
    net.output(net.slopes(net.convolution(x, 21, (1, 1))))
    net.output(net.apply("LeakyRelu", net.convolution(x, 21, (1, 1))))
    apart = net.convolution(x, 21, (1, 1))  # an output itself: what follows it gets kernels of its own
    net.output(apart)
    for follow in (net.scale, net.batch_norm, net.slopes):
        net.output(follow(net.slopes(apart)))
    net.output(net.apply("Relu", net.batch_norm(net.concat(x, net.convolution(x, 10, (1, 1))))))
    net.output(net.combine("Sub", x, net.apply("Tanh", net.convolution(x, 13, (3, 3), pads=(1, 1, 1, 1)))))
    net.output(net.squeeze_excite(net.apply("HardSwish", net.convolution(x, 21, (1, 1))), 5))
    both = net.convolution(x, 13, (1, 1))
    net.output(net.combine("Add", net.apply("Tanh", both), net.apply("Relu", both)))
    net.output(both)
    return net


def channels() -> Network:
    """Concatenation, splitting and shuffling at odd places; lanes beyond the last channel hold NaN."""
    net = Network(12, 3, 5)
    x = net.convolution(net.x, 13, (1, 1))
    y = net.scale(net.convolution(net.x, 18, (1, 1)), "Div")
    net.output(net.convolution(net.concat(x, y, x), 7, (3, 3), pads=(1, 1, 1, 1)))
    a, b = net.split(y, 7)
    net.output(net.concat(net.apply("Relu", b), a))
    net.output(net.shuffle(y, 3))
    net.output(net.mean(net.depthwise(y, (3, 3), pads=(1, 1, 1, 1))))
    net.output(net.pool(y, "average", (2, 2)))
    for part in net.split(net.x, 5):
        net.output(net.convolution(part, 3, (1, 1)))
    net.output(net.convolution(net.shuffle(net.x, 4), 3, (1, 1)))
    return net


def mixed() -> Network:
    """Own kernels between TVM's, and dense layers."""
    net = Network(6, 4, 3)
    x = net.convolution(net.x, 20, (3, 3), pads=(1, 1, 1, 1))
    net.output(net.convolution(net.apply("Softmax", x), 5, (1, 1)))
    grouped = net.apply("Relu", net.convolution(x, 8, (3, 3), groups=2, pads=(1, 1, 1, 1)))
    net.output(net.concat(x, grouped))
    turned = net.node("Transpose", x.name, perm=[0, 1, 3, 2])
    net.output(net.convolution(Tensor(turned, 20, 3, 4), 4, (2, 2)))
    up = net.node("ConvTranspose", x.name, net.b.weight(20, 3, 2, 2), strides=[2, 2])
    net.output(net.depthwise(net.apply("Clip", Tensor(up, 3, 8, 6)), (3, 3)))
    net.output(x._replace(name=net.node("Softmax", net.dense(net.apply("Relu", x), 11), axis=1)))
    net.output(x._replace(name=net.node("Tanh", net.dense(net.mean(x), 35))))
    flat = net.node("Flatten", x.name)
    net.output(x._replace(name=net.node("Add", net.dense(x, 240), flat)))
    net.output(x._replace(name=net.node("Relu", flat)))
    return net


def dense() -> Network:
    """Dense layers over several images, at which the last one's buffers end."""
    net = Network(5, 3, 2)
    x = net.apply("Relu", net.convolution(net.x, 21, (2, 1)))
    net.output(x._replace(name=net.node("Relu", net.dense(x, 37))))
    net.output(x._replace(name=net.dense(net.mean(x), 130)))
    net.output(net.squeeze_excite(x, 3))
    net.output(net.convolution(net.convolution(x, 64, (1, 1)), 99, (1, 1)))
    return net


def products(m: str) -> Network:
    """3x3 convolutions for Winograd of every leftover: rows, columns, channels, padding."""
    net = Network(5, 7, 9, winograd=f"winograd-{m}")
    x = net.convolution(net.x, 17, (3, 3), pads=(1, 1, 1, 1))
    net.output(net.apply("Relu", net.combine("Add", net.convolution(x, 17, (3, 3), pads=(1, 1, 1, 1)), x)))
    net.output(net.apply("Silu", net.convolution(x, 1, (3, 3), bias=False)))
    net.output(net.convolution(x, 40, (3, 3), pads=(0, 1, 1, 0)))
    one = net.convolution(x, 3, (7, 9))
    net.output(net.convolution(one, 13, (3, 3), pads=(1, 1, 1, 1)))
    net.output(net.convolution(net.convolution(x, 2, (5, 1)), 8, (3, 3), pads=(1, 1, 1, 1)))
    return net


def functions_behind(first: str) -> Network:
    """Every function of a convolution's results, behind one other."""
    net = Network(5, 3, 4)
    x = net.convolution(net.x, 21, (1, 1))
    for op in ACTIVATIONS:
        net.output(net.apply(op, net.apply(first, x)))
    return net


NETWORKS = {"windows": windows, "groups": groups, "small": small, "poolings": poolings, "epilogues": epilogues,
            "channels": channels, "mixed": mixed, "dense": dense}
