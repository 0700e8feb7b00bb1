"""Attention as exporters write it: found behind any splitting and moving of heads and windows, and read as one node.

    softmax(scale * queries keys' + biases) values        Vaswani et al., "Attention Is All You Need" (2017)

between the softmax and the values also a gate: d'Ascoli et al., "ConViT" (2021), mixes the weights with fixed ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.form import Form, Image
from edgecls.backends.tvm.blocked.heads import Attention, Gate, Heads
from edgecls.backends.tvm.blocked.node import Node
from edgecls.backends.tvm.blocked.tokens import Reader, form_of
from edgecls.types import Array


def read_attention(reader: Reader, variable: Any, call: Any) -> Node | None:
    """call: the product of the weights and the values."""
    left, right = (reader.given(a) for a in call.args)
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray) or len(reader.shapes.get(left, ())) != 4:
        return None
    gate, softmaxed = _gate(reader, left)
    softmax = _calls(reader, softmaxed, "relax.nn.softmax")
    if softmax is None or int(softmax.value.attrs.axis) not in (-1, 3):
        return None
    scale, biases, product = _scores(reader, reader.given(softmax.value.args[0]))
    # scores of one image, or of one head, could become several by what is added to them
    if product is None or len(product.shape) != 4 or reader.shapes[left] != product.shape:
        return None
    (by, query), (times, key) = (_scaled(reader, reader.given(a)) for a in product.value.args)
    queries, keys, values = _heads(reader, query), _heads(reader, key, turned=True), _heads(reader, right)
    if queries is None or keys is None or values is None:
        return None
    ((images, _, h, w), found), (others, other), (thirds, third) = queries, keys, values
    batch, heads, rows, columns = product.shape
    if not (images == others[0] == thirds[0] and _matching(found, other, third)):
        return None
    if not np.array_equal(np.sort(found.tokens, axis=None), np.arange(h * w)):
        return None
    each = [_compressed(b.reshape(batch, heads, rows, columns), images) for b in biases]
    same = [b for b in each if b is not None]
    if len(same) != len(each) or (gate and gate.factor.size not in (1, heads)):
        return None
    gate = gate and Gate(np.broadcast_to(gate.factor, (heads,)), gate.summand, gate.normalised)
    attention = Attention(images, heads, found, other, third, scale * by * times, tuple(same), gate)
    reader.forms[variable] = _result(variable, (images, heads * third.size, h, w), attention)
    bases = (found.base, other.base, third.base)
    return Node(variable, call, "attention", bases, (batch, heads, rows, third.size), attention=attention,
                passed=_between(reader, (left, right), bases))


def _between(reader: Reader, last: tuple[Any, ...], bases: tuple[Any, ...]) -> tuple[Any, ...]:
    """Variables of all that lies between the bases and the last product: attention does its work."""
    found: list[Any] = []
    ahead = list(last)
    while ahead:
        variable = ahead.pop()
        if isinstance(variable, np.ndarray) or variable in bases or variable in found or variable not in reader.known:
            continue
        found.append(variable)
        ahead += reader.known[variable].inputs
    return tuple(reversed(found))


def _result(variable: Any, image: tuple[int, int, int, int], attention: Attention) -> Form:
    """(images * groups, heads, queries, size): where the queries were, one head after the other."""
    n, c, h, w = image
    groups, rows = attention.queries.tokens.shape
    size = attention.values.size
    first = np.arange(n, dtype=np.int32)[:, None, None] * (c * h * w) + attention.queries.tokens
    channels = np.arange(c, dtype=np.int32).reshape(attention.heads, 1, size) * (h * w)
    return Form(variable, image, first.reshape(n * groups, 1, rows, 1) + channels)


def _matching(queries: Heads, keys: Heads, values: Heads) -> bool:
    return (len(queries.tokens) == len(keys.tokens) and keys.tokens.shape == values.tokens.shape
            and queries.size == keys.size)


def _heads(reader: Reader, variable: Any, turned: bool = False) -> tuple[Image, Heads] | None:
    """The image, and where in it they are, of (batch, heads, tokens, size), or of (batch, heads, size, tokens)."""
    form = None if isinstance(variable, np.ndarray) else form_of(reader, variable)
    if form is None or form.index.ndim != 4 or form.index.size == 0:
        return None
    index = form.index.swapaxes(2, 3) if turned else form.index
    n, c, h, w = form.image
    image, rest = np.divmod(index, c * h * w)
    channel, pixel = np.divmod(rest, h * w)
    pixel, image, channel = pixel[:, 0, :, 0], image[:, 0, 0, 0], channel[0, :, 0, :]
    batch, heads, _, size = index.shape
    start, step = int(channel[0, 0]), int(channel[-1, 0] - channel[0, 0]) // max(1, heads - 1)
    if batch % n or step < 0 or size > c:
        return None
    groups = batch // n
    numbers = np.arange(batch) // groups
    channels = start + step * np.arange(heads)[:, None] + np.arange(size)
    whole = ((numbers * (c * h * w))[:, None, None, None] + pixel[:, None, :, None]
             + channels[None, :, None, :] * (h * w))
    if not np.array_equal(index, whole) or (pixel.reshape(n, -1) != pixel[:groups].reshape(1, -1)).any():
        return None
    return form.image, Heads(form.base, start, step, size, pixel[:groups].astype(np.int32))


def _scores(reader: Reader, variable: Any) -> tuple[float, list[Array], Node | None]:
    """scale * product + biases, from the last step to the first."""
    scale, biases = 1.0, list[Array]()
    while not isinstance(variable, np.ndarray) and (node := reader.known.get(variable)) is not None:
        name = _name(node)
        given = [reader.given(a) for a in getattr(node.value, "args", ())]
        arrays = [a for a in given if isinstance(a, np.ndarray)]
        others = [a for a in given if not isinstance(a, np.ndarray)]
        if name == "relax.matmul":
            return scale, biases, node
        if name == "relax.reshape":
            variable = given[0]
        elif name == "relax.add" and len(arrays) == 1:
            biases.append(np.broadcast_to(arrays[0], node.shape) * np.float32(scale))
            variable = others[0]
        elif name in ("relax.multiply", "relax.divide") and (factor := _factor(name, given)) is not None:
            scale *= factor
            variable = others[0]
        else:
            break
    return scale, biases, None


def _scaled(reader: Reader, variable: Any) -> tuple[float, Any]:
    """factor * another tensor."""
    scale = 1.0
    while not isinstance(variable, np.ndarray) and (node := reader.known.get(variable)) is not None:
        given = [reader.given(a) for a in getattr(node.value, "args", ())]
        factor = _factor(_name(node), given)
        if factor is None:
            break
        scale *= factor
        variable = next(a for a in given if not isinstance(a, np.ndarray))
    return scale, variable


def _factor(name: str, given: list[Any]) -> float | None:
    """Of a multiplication or division by a number."""
    arrays = [a for a in given if isinstance(a, np.ndarray)]
    if name not in ("relax.multiply", "relax.divide") or len(arrays) != 1:
        return None
    array = arrays[0]
    if array.size != 1 or (name == "relax.divide" and (array is given[0] or not array.any())):
        return None
    value = float(array.reshape(-1)[0])
    return value if name == "relax.multiply" else 1.0 / value


def _gate(reader: Reader, variable: Any) -> tuple[Gate | None, Any]:
    """factor * weights + summand, divided by its sum or not; and the weights."""
    inside, normalised = variable, False
    divide = _calls(reader, variable, "relax.divide")
    if divide is not None:
        inside, total = (reader.given(a) for a in divide.value.args)
        while (step := _calls(reader, total, "relax.expand_dims", "relax.reshape")) is not None:
            total = step.value.args[0]
        added = _calls(reader, total, "relax.sum")
        if added is None or added.value.args[0] != inside or [int(a) % 4 for a in added.value.attrs.axis] != [3]:
            return None, None
        normalised = True
    summand, inside = _operand(reader, inside, "relax.add")
    factor, inside = _operand(reader, inside, "relax.multiply")
    if divide is None and summand is None and factor is None:
        return None, variable
    if summand is None or factor is None or summand.ndim != 4 or (summand != summand[:1]).any():
        return None, None
    if factor.size != 1 and factor.size != max(factor.shape[-3:-2], default=0):
        return None, None
    # exporters write a copy for each image
    return Gate(factor.reshape(-1), summand[:1], normalised), inside


def _operand(reader: Reader, variable: Any, name: str) -> tuple[Array | None, Any]:
    """The constant operand of this operator, and the other one; the tensor itself if it is no such result."""
    node = _calls(reader, variable, name)
    given = [reader.given(a) for a in node.value.args] if node is not None else []
    arrays = [a for a in given if isinstance(a, np.ndarray)]
    if len(arrays) != 1:
        return None, variable
    return arrays[0], next(a for a in given if not isinstance(a, np.ndarray))


def _compressed(bias: Array, images: int) -> Array | None:
    """(batch, heads, queries, keys) -> (groups or 1, heads or 1, queries, keys); None if images differ."""
    groups = len(bias) // images
    if (bias.reshape(images, groups, *bias.shape[1:]) != bias[:groups]).any():
        return None
    bias = bias[:1] if (bias[:groups] == bias[:1]).all() else bias[:groups]
    return np.ascontiguousarray(bias[:, :1] if (bias == bias[:, :1]).all() else bias, np.float32)


def _calls(reader: Reader, variable: Any, *names: str) -> Node | None:
    node = None if isinstance(variable, np.ndarray) else reader.known.get(variable)
    return node if node is not None and _name(node) in names else None


def _name(node: Node) -> str:
    return str(getattr(getattr(node.value, "op", None), "name", ""))
