"""Small attention networks of odd shapes, in the forms in which exporters write heads, windows and gates.

    t = Transformer(channels=5, height=6, width=4)       # an image, embedded as tokens
    x = t.norm(t.embed(20))
    t.output(t.attention(x, heads=2, size=7))
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from tests.backends.tvm.blocked.networks import Network, Tensor

HEAD_ORDERS = ("3hd", "h3d", "separate")


class Tokens(NamedTuple):
    """(batch, height * width, channels), or (batch, height, width, channels) if `spatial`."""

    name: str
    height: int
    width: int
    channels: int
    spatial: bool = False


class Transformer(Network):
    def shape(self, *dims: int) -> str:
        return self.b.constant(dims, np.int64)

    def reshape(self, x: str, *dims: int) -> str:
        return self.node("Reshape", x, self.shape(*dims))

    def transpose(self, x: str, *axes: int) -> str:
        return self.node("Transpose", x, perm=list(axes))

    def number(self, value: float) -> str:
        return self.b.constant(value, np.float32)

    def emit(self, x: Tokens) -> None:
        self.output(Tensor(x.name, x.channels, x.height, x.width))

    # ---- tokens

    def embed(self, channels: int, spatial: bool = False) -> Tokens:
        x = self.convolution(self.x, channels, (2, 2), (1, 1))
        if spatial:
            return Tokens(self.transpose(x.name, 0, 2, 3, 1), x.height, x.width, channels, True)
        flat = self.reshape(x.name, 0, channels, x.height * x.width)
        return Tokens(self.transpose(flat, 0, 2, 1), x.height, x.width, channels)

    def norm(self, x: Tokens) -> Tokens:
        scale = self.b.constant(self.b.random.uniform(0.5, 1.5, x.channels), np.float32)
        shift = self.b.constant(self.b.random.standard_normal(x.channels), np.float32)
        name = self.node("LayerNormalization", x.name, scale, shift, family="norm", axis=-1, epsilon=1e-5)
        return x._replace(name=name)

    def dense(self, x: Tokens, out: int, bias: bool = True) -> Tokens:
        weights = self.b.constant(self.b.random.standard_normal((x.channels, out)) / np.sqrt(x.channels), np.float32)
        name = self.node("MatMul", x.name, weights, family="direct")
        return x._replace(name=self.node("Add", name, self.b.weight(out)) if bias else name, channels=out)

    def gelu(self, x: Tokens) -> Tokens:
        inner = self.node("Erf", self.node("Div", x.name, self.number(1.4142135)))
        half = self.node("Mul", self.number(0.5), self.node("Add", inner, self.number(1.0)))
        return x._replace(name=self.node("Mul", x.name, half))

    def add(self, a: Tokens, b: Tokens) -> Tokens:
        return a._replace(name=self.node("Add", a.name, b.name))

    def position(self, x: Tokens) -> Tokens:
        values = self.b.constant(self.b.random.standard_normal((1, x.height * x.width, x.channels)), np.float32)
        return x._replace(name=self.node("Add", x.name, values))

    def class_token(self, x: Tokens, batch: int) -> Tokens:
        token = self.b.constant(np.repeat(self.b.random.standard_normal((1, 1, x.channels)), batch, 0), np.float32)
        name = self.node("Concat", token, x.name, axis=1)
        return Tokens(name, 1, x.height * x.width + 1, x.channels)

    def first(self, x: Tokens) -> Tokens:
        return Tokens(self.node("Gather", x.name, self.b.constant(0, np.int64), axis=1), 1, 1, x.channels)

    # ---- windows

    def roll(self, x: Tokens, shift: int) -> Tokens:
        name = x.name
        for axis, size in ((1, x.height), (2, x.width)):
            cuts = [self.node("Slice", name, *(self.shape(v) for v in (start, end, axis)))
                    for start, end in ((shift, size), (0, shift))]
            name = self.node("Concat", *cuts, axis=axis)
        return x._replace(name=name)

    def partition(self, x: Tokens, size: int) -> Tokens:
        """(batch * windows, size * size, channels)."""
        rows, columns = x.height // size, x.width // size
        cut = self.reshape(x.name, -1, rows, size, columns, size, x.channels)
        turned = self.transpose(cut, 0, 1, 3, 2, 4, 5)
        return Tokens(self.reshape(turned, -1, size * size, x.channels), size, size, x.channels)

    def together(self, x: Tokens, like: Tokens, size: int) -> Tokens:
        rows, columns = like.height // size, like.width // size
        cut = self.reshape(x.name, -1, rows, columns, size, size, x.channels)
        turned = self.transpose(cut, 0, 1, 3, 2, 4, 5)
        return like._replace(name=self.reshape(turned, -1, like.height, like.width, x.channels), channels=x.channels)

    def merge(self, x: Tokens) -> Tokens:
        """Four neighbours' channels in one token."""
        cut = self.reshape(x.name, -1, x.height // 2, 2, x.width // 2, 2, x.channels)
        turned = self.transpose(cut, 0, 1, 3, 4, 2, 5)
        name = self.reshape(turned, -1, x.height // 2, x.width // 2, 4 * x.channels)
        return Tokens(name, x.height // 2, x.width // 2, 4 * x.channels, True)

    # ---- attention

    def attention(self, x: Tokens, heads: int, size: int, order: str = "3hd", biases: int = 0, masks: int = 0,
                  gate: bool = False, copies: int = 1, family: str = "attention") -> Tokens:
        """masks: for as many windows one after the other; the batch times that many is the leading dimension. copies:
        of what a gate adds, one for each image."""
        count = x.height * x.width
        q, k, v = self.heads(x, heads, size, order, count)
        scaled = self.node("Mul", q, self.number(size ** -0.25))
        turned = self.node("Mul", self.transpose(k, 0, 1, 3, 2), self.number(size ** -0.25))
        scores = self.node("MatMul", scaled, turned)
        for _ in range(biases):
            scores = self.node("Add", scores, self.noise(1, heads, count, count))
        if masks:
            inner = self.reshape(scores, -1, masks, heads, count, count)
            forbidden = np.where(self.b.random.uniform(size=(1, masks, 1, count, count)) < 0.3, -100, 0)
            added = self.node("Add", inner, self.b.constant(forbidden, np.float32))
            scores = self.reshape(added, -1, heads, count, count)
        weights = self.node("Softmax", scores, axis=-1)
        if gate:
            mixed = self.node("Mul", self.b.constant(self.b.random.uniform(size=(1, heads, 1, 1)), np.float32), weights)
            added = self.b.random.uniform(size=(1, heads, count, count)) / count
            mixed = self.node("Add", mixed, self.b.constant(np.repeat(added, copies, axis=0), np.float32))
            total = self.node("ReduceSum", mixed, self.shape(-1), keepdims=1)
            weights = self.node("Div", mixed, total)
        mean = self.node("MatMul", weights, v, family=family)
        name = self.reshape(self.transpose(mean, 0, 2, 1, 3), -1, count, heads * size)
        return x._replace(name=name, channels=heads * size, spatial=False)

    def heads(self, x: Tokens, heads: int, size: int, order: str, count: int) -> list[str]:
        if order == "separate":
            parts = [self.dense(x, heads * size) for _ in range(3)]
            return [self.transpose(self.reshape(p.name, -1, count, heads, size), 0, 2, 1, 3) for p in parts]
        whole = self.dense(x, 3 * heads * size)
        if order == "3hd":
            turned = self.transpose(self.reshape(whole.name, -1, count, 3, heads, size), 2, 0, 3, 1, 4)
            return [self.node("Gather", turned, self.b.constant(i, np.int64), axis=0) for i in range(3)]
        cut = self.transpose(self.reshape(whole.name, -1, count, heads, 3 * size), 0, 2, 1, 3)
        return list(self.b.node("Split", cut, self.shape(size, size, size), outputs=3, axis=3))

    def noise(self, *shape: int) -> str:
        return self.b.constant(self.b.random.standard_normal(shape), np.float32)

    def block(self, x: Tokens, heads: int, size: int, inner: int, order: str = "3hd") -> Tokens:
        """Attention and a feed-forward part, each beside its input."""
        mixed = self.dense(self.attention(self.norm(x), heads, size, order), x.channels)
        x = self.add(x, mixed)
        return self.add(x, self.dense(self.gelu(self.dense(self.norm(x), inner)), x.channels))


# ---- fixed networks: each of one idea

def plain(batch: int) -> Transformer:
    """A class token, positions, two blocks, the class token's answer."""
    t = Transformer(3, 6, 8)
    x = t.position(t.class_token(t.embed(19), batch))
    x = t.block(t.block(x, 3, 8, 21), 2, 5, 13, "separate")
    t.emit(t.dense(t.first(t.norm(x)), 7))
    return t


def windows(batch: int) -> Transformer:
    """Shifted windows with biases and masks, between an image's rows and columns, and merged neighbours."""
    t = Transformer(3, 7, 10)
    x = t.norm(t.embed(12, spatial=True))
    rolled = t.partition(t.roll(t.norm(x), 1), 3)
    mixed = t.attention(rolled, 2, 6, biases=1, masks=6)
    x = t.add(x, t.roll(t.together(t.dense(mixed, 12), x, 3)._replace(spatial=True), 2))
    t.emit(x)
    even = t.dense(x._replace(name=t.node("Slice", x.name, t.shape(0), t.shape(8), t.shape(2)), width=8), 16)
    t.emit(t.dense(t.norm(t.merge(even)), 9, bias=False))
    t.emit(Tokens(t.node("ReduceMean", x.name, t.shape(1, 2), keepdims=0), 1, 1, 12))
    return t


def gated(batch: int) -> Transformer:
    t = Transformer(4, 5, 5)
    x = t.embed(16)
    t.emit(t.dense(t.attention(x, 2, 16, gate=True), 5))
    t.emit(t.attention(x, 1, 3, "separate", gate=True, copies=batch))
    t.emit(t.attention(x, 3, 4, "h3d"))
    return t


def hybrid(batch: int) -> Transformer:
    """Convolutions before and behind attention, and normalisation of images by channel."""
    t = Transformer(5, 6, 5)
    x = t.convolution(t.x, 18, (3, 3), pads=(1, 1, 1, 1))
    scale, shift, mean = (t.b.weight(18) for _ in range(3))
    variance = t.b.constant(t.b.random.uniform(0.5, 1.5, 18), np.float32)
    normal = t.node("BatchNormalization", x.name, scale, shift, mean, variance, epsilon=1e-3)
    y = t.norm(Tokens(t.transpose(x.name, 0, 2, 3, 1), 6, 5, 18, True))
    qkv = t.convolution(Tensor(t.transpose(y.name, 0, 3, 1, 2), 18, 6, 5, True), 48, (1, 1))
    parts = t.b.node("Split", t.reshape(qkv.name, -1, 2, 24, 30), t.shape(8, 8, 8), outputs=3, axis=2)
    q, k, v = (t.transpose(p, 0, 1, 3, 2) for p in parts)
    scores = t.node("Add", t.node("MatMul", q, t.transpose(k, 0, 1, 3, 2)), t.noise(1, 2, 30, 30))
    mixed = t.node("MatMul", t.node("Softmax", scores, axis=-1), v, family="attention")
    image = Tensor(t.reshape(t.transpose(mixed, 0, 1, 3, 2), -1, 16, 6, 5), 16, 6, 5, True)
    t.output(t.combine("Add", t.convolution(image, 18, (1, 1)), x._replace(name=normal)))
    t.output(t.depthwise(image, (3, 3), pads=(1, 1, 1, 1)))
    return t


def leftovers(batch: int) -> Transformer:
    """What the families leave to TVM reads and feeds what they take."""
    t = Transformer(3, 4, 6)
    x = t.embed(10)
    t.emit(x._replace(name=t.node("Softmax", t.dense(x, 6).name, axis=-1)))
    t.emit(t.dense(x._replace(name=t.node("Abs", x.name)), 4))
    cut = t.partition(t.embed(6, spatial=True), 1)
    t.emit(t.dense(cut, 5))
    t.emit(cut._replace(name=t.node("Abs", t.dense(cut, 3).name)))
    turned = t.transpose(x.name, 0, 2, 1)
    t.emit(Tokens(t.node("MatMul", turned, x.name), 1, 10, 10))
    t.emit(t.norm(x._replace(name=t.node("Mul", x.name, t.number(2.0)))))
    t.emit(x._replace(name=t.node("Abs", t.attention(x, 2, 5).name), channels=10))
    return t


def outside(batch: int) -> Transformer:
    """Parts that no kernel computes on, weights that are no softmax, and a class token that is answer and input."""
    t = Transformer(3, 4, 6)
    x = t.embed(10)
    wide = t.dense(x, 12)
    part = t.node("Slice", wide.name, t.shape(3), t.shape(9), t.shape(2))
    t.emit(t.dense(wide._replace(name=t.node("Relu", part), channels=6), 5))
    q, k, v = t.heads(x, 2, 5, "3hd", 15)
    scores = t.node("MatMul", q, t.transpose(k, 0, 1, 3, 2))
    for weights in (t.node("Relu", scores), t.node("Softmax", t.node("Add", scores, scores), axis=-1)):
        mixed = t.transpose(t.node("MatMul", weights, v), 0, 2, 1, 3)
        t.emit(t.dense(x._replace(name=t.reshape(mixed, -1, 15, 10)), 3))
    y = t.class_token(x, batch)
    first = t.first(t.norm(t.add(y, t.dense(y, 10))))
    t.emit(first)
    t.emit(t.dense(first, 4))
    return t


def products(batch: int) -> Transformer:
    """Of tensors that are both computed: linear attention, and all tokens beside all."""
    t = Transformer(3, 5, 8)
    x = t.norm(t.embed(22))
    q, k, v = t.heads(x, 2, 9, "3hd", 28)
    inner = t.node("MatMul", t.transpose(k, 0, 1, 3, 2), v)
    mixed = t.transpose(t.node("MatMul", q, inner), 0, 2, 1, 3)
    t.emit(t.dense(Tokens(t.reshape(mixed, -1, 28, 18), 4, 7, 18), 5))
    t.emit(Tokens(t.node("MatMul", x.name, t.transpose(x.name, 0, 2, 1)), 1, 28, 28))
    return t


NETWORKS = {"plain": plain, "windows": windows, "gated": gated, "hybrid": hybrid,
            "leftovers": leftovers, "outside": outside, "products": products}


@st.composite
def transformers(draw: st.DrawFn, batch: int) -> Transformer:
    """A block or a window of any size."""
    height, width = draw(st.integers(2, 9)), draw(st.integers(2, 9))
    t = Transformer(draw(st.integers(1, 5)), height, width, seed=draw(st.integers(0, 99)))
    channels, heads, size = draw(st.integers(1, 40)), draw(st.integers(1, 4)), draw(st.integers(1, 40))
    x = t.embed(channels)
    if draw(st.booleans()):
        x = t.class_token(x, batch)
    if draw(st.booleans()):
        x = t.position(x)
    y = t.attention(t.norm(x), heads, size, draw(st.sampled_from(HEAD_ORDERS)), biases=draw(st.integers(0, 2)),
                    gate=draw(st.booleans()))
    x = t.add(x, t.dense(y, channels, bias=draw(st.booleans())))
    x = t.add(x, t.dense(t.gelu(t.dense(t.norm(x), draw(st.integers(1, 50)))), channels))
    t.emit(t.dense(t.first(t.norm(x)), draw(st.integers(1, 20))) if draw(st.booleans()) else x)
    return t
