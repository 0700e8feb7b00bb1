"""Hypothesis: networks with several branches, so that one compile covers many layers."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.backends.tvm.blocked.networks import ACTIVATIONS, Four, Network, Tensor, Two

SIZES = st.integers(1, 20)
CHANNELS = st.one_of(st.integers(1, 40), st.sampled_from([1, 13, 16, 32]))


@st.composite
def windows(draw: st.DrawFn, x: Tensor, largest: int = 7, most_dilated: int = 2) -> tuple[Two, Two, Four, Two]:
    """kernel, stride, pads, dilation that give at least one result."""
    kernel = (draw(st.integers(1, largest)), draw(st.integers(1, largest)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilations = st.sampled_from([1, 1, most_dilated])
    dilation = (draw(dilations), draw(dilations))
    pads = [draw(st.integers(0, d * (k - 1))) for k, d in zip(kernel * 2, dilation * 2, strict=True)]
    for axis, size in enumerate((x.height, x.width)):
        missing = dilation[axis] * (kernel[axis] - 1) + 1 - size - pads[axis] - pads[axis + 2]
        for side in (axis, axis + 2):
            more = max(0, min(missing, dilation[axis] * (kernel[axis] - 1) - pads[side]))
            pads[side], missing = pads[side] + more, missing - more
    return kernel, stride, (pads[0], pads[1], pads[2], pads[3]), dilation


@st.composite
def layer(draw: st.DrawFn, net: Network, x: Tensor) -> Tensor:
    """One layer of any family on x."""
    kind = draw(st.sampled_from(["convolution", "pointwise", "3x3", "depthwise", "max", "average", "average-with-pad",
                                 "norm", "slopes", "largest", "excite", "concat", "split", "shuffle", "grouped"]))
    if kind == "convolution":
        kernel, stride, pads, dilation = draw(windows(x))
        return net.convolution(x, draw(CHANNELS), kernel, stride, pads, dilation, draw(st.booleans()))
    if kind == "pointwise":
        return net.convolution(x, draw(CHANNELS), (1, 1), bias=draw(st.booleans()))
    if kind == "3x3":
        return net.convolution(x, draw(CHANNELS), (3, 3), pads=(1, 1, 1, 1), bias=draw(st.booleans()))
    if kind == "depthwise":
        kernel, stride, pads, dilation = draw(windows(x))
        return net.depthwise(x, kernel, stride, pads, dilation, draw(st.booleans()))
    if kind in ("max", "average", "average-with-pad"):
        kernel, stride, pads, _ = draw(windows(x, 4, most_dilated=1))
        if draw(st.booleans()):
            kernel = (min(kernel[0], x.height), min(kernel[1], x.width))
            pads = (kernel[0] // 2, kernel[1] // 2) * 2
        # elsewhere a window may begin behind the image, where ONNX's shape inference and its text differ
        ceil = draw(st.booleans()) and not any(pads[2:]) and stride[0] <= kernel[0] and stride[1] <= kernel[1]
        return net.pool(x, kind, kernel, stride, pads, ceil=ceil)
    if kind in ("norm", "slopes", "largest"):
        return {"norm": net.batch_norm, "slopes": net.slopes, "largest": net.largest}[kind](x)
    if kind == "excite":
        return net.squeeze_excite(x, draw(st.integers(1, 9)))
    if kind == "concat":
        return net.concat(x, net.apply("Relu", x), x)
    if kind == "split" and x.channels > 1:
        a, b = net.split(x, draw(st.integers(1, x.channels - 1)))
        return net.concat(net.apply("Relu", b), a)
    divisors = [g for g in range(2, x.channels + 1) if x.channels % g == 0]
    if kind == "shuffle" and divisors:
        return net.shuffle(x, draw(st.sampled_from(divisors)))
    if kind == "grouped" and divisors:
        groups = draw(st.sampled_from(divisors))
        return net.convolution(x, groups * draw(st.integers(1, 3)), (3, 3), pads=(1, 1, 1, 1), groups=groups)
    return x


@st.composite
def winograd_networks(draw: st.DrawFn, m: str) -> Network:
    """3x3 convolutions one after another, with any padding that Winograd takes."""
    net = Network(draw(CHANNELS), draw(SIZES), draw(SIZES), seed=draw(st.integers(0, 99)), winograd=f"winograd-{m}")
    x = net.x
    for _ in range(3):
        pads = [draw(st.integers(0, 1)) if extent > 2 else 1 for extent in (x.height, x.width) * 2]
        before, x = x, net.convolution(x, draw(CHANNELS), (3, 3), pads=(pads[0], pads[1], pads[2], pads[3]),
                                       bias=draw(st.booleans()))
        if before[1:4] == x[1:4] and draw(st.booleans()):
            x = net.combine("Add", x, before)
        x = net.apply(draw(st.sampled_from(["Relu", "Silu", "HardSwish"])), x)
        net.output(x)
    return net


@st.composite
def epilogue(draw: st.DrawFn, net: Network, x: Tensor, others: list[Tensor]) -> Tensor:
    """Up to three element-wise steps; some read other tensors of the network."""
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["activation", "activation", "scale", "residual", "both"]))
        same = [t for t in others if t[1:4] == x[1:4]]
        if kind == "scale":
            x = net.scale(x, draw(st.sampled_from(["Mul", "Add", "Sub", "Div"])))
        elif kind == "residual" and same:
            x = net.combine(draw(st.sampled_from(["Add", "Sub", "Mul", "Max"])), x, draw(st.sampled_from(same)))
        elif kind == "both":  # used by the epilogue and by another layer
            x = net.combine("Add", net.apply("Tanh", x), net.apply("Relu", x))
        else:
            x = net.apply(draw(st.sampled_from(sorted(set(ACTIVATIONS) - {"Softmax"}))), x)
    return x


@st.composite
def networks(draw: st.DrawFn, branches: int = 4) -> Network:
    """Chains of up to three layers with epilogues from one input, and from one another; some end in a dense layer."""
    net = Network(draw(st.one_of(st.integers(1, 4), CHANNELS)), draw(SIZES), draw(SIZES), seed=draw(st.integers(0, 99)))
    tensors = [net.x]
    for _ in range(branches):
        x = draw(st.sampled_from(tensors))
        for _ in range(draw(st.integers(1, 3))):
            x = draw(epilogue(net, draw(layer(net, x)), tensors))
            tensors.append(x)
        if draw(st.sampled_from([False, False, False, True])):
            x = net.apply("Softmax", x)
        if draw(st.booleans()):
            net.output(x)
        if draw(st.booleans()):
            end = net.mean(x) if draw(st.booleans()) else x
            net.output(x._replace(name=net.dense(end, draw(CHANNELS))))
        else:
            net.output(x)
    return net


@st.composite
def convolution_networks(draw: st.DrawFn, branches: int = 5) -> Network:
    """Convolutions and depthwise convolutions: planar and blocked, on one input and on one another."""
    net = Network(draw(st.one_of(st.integers(1, 4), CHANNELS)), draw(SIZES), draw(SIZES), seed=draw(st.integers(0, 99)))
    for _ in range(branches):
        kernel, stride, pads, dilation = draw(windows(net.x))
        x = net.convolution(net.x, draw(CHANNELS), kernel, stride, pads, dilation, draw(st.booleans()))
        net.output(x)
        kernel, stride, pads, dilation = draw(windows(x))
        x = net.depthwise(x, kernel, stride, pads, dilation, draw(st.booleans()))
        net.output(x)
        kernel, stride, pads, dilation = draw(windows(x))
        net.output(net.convolution(x, draw(CHANNELS), kernel, stride, pads, dilation, draw(st.booleans())))
    return net
