"""Readers for attention networks: moves become forms; what is done to each token is done to the image it lies in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from edgecls.backends.tvm.blocked.expression import Apply
from edgecls.backends.tvm.blocked.form import Form
from edgecls.backends.tvm.blocked.node import Node, Shape
from edgecls.backends.tvm.blocked.window import Window
from edgecls.types import Array


class Reader(Protocol):
    """What is known of the bindings so far."""

    forms: dict[Any, Form]
    shapes: dict[Any, Shape]
    known: dict[Any, Node]

    def given(self, argument: Any) -> Any:
        """The array behind a constant, else the variable."""

    def reread(self, node: Node) -> None:
        """Another node for a binding."""


def form_of(reader: Reader, variable: Any) -> Form | None:
    """None for what cannot be an image. Other tensors of four dimensions are images, of three tokens x channels."""
    if variable in reader.forms:
        return reader.forms[variable]
    shape, node = reader.shapes.get(variable, ()), reader.known.get(variable)
    if node is not None and node.kind == "view":
        inner = form_of(reader, node.inputs[0])
        return inner and inner.moved(inner.index.reshape(shape))
    if str(getattr(variable.ty, "dtype", "")) != "float32":
        return None
    if len(shape) in (2, 4):
        n, c, h, w = (*shape, 1, 1)[:4]
        return Form.of_image(variable, (n, c, h, w), shape)
    if len(shape) == 3:
        reader.forms[variable] = _in_order(variable, shape)
    return reader.forms.get(variable)


def read_tokens(reader: Reader, variable: Any, call: Any) -> Node | None:
    """The node of one call, with its form; None when it is for others."""
    read = _READERS.get(getattr(getattr(call, "op", None), "name", ""))
    return read(reader, variable, call) if read else None


def read_part(reader: Reader, variable: Any, split: Node | None, number: int) -> Node | None:
    """One result of a split along any axis."""
    if split is None or getattr(getattr(split.value, "op", None), "name", "") != "relax.split":
        return None
    axis = int(split.value.attrs.axis)
    sizes = [int(f.shape[axis]) for f in split.variable.ty.fields]
    start = sum(sizes[:number])
    cut = [slice(None)] * axis + [slice(start, start + sizes[number])]
    return _view(reader, variable, split.value.args[0], lambda index: index[tuple(cut)])


def _in_order(variable: Any, shape: Shape) -> Form:
    """Channels last, in an image of its own: (N, T, C) or (N, H, W, C)."""
    n, c = shape[0], shape[-1]
    h, w = (shape[1], shape[2]) if len(shape) == 4 else (1, int(np.prod(shape[1:-1])))
    return Form.of_tokens(variable, (n, c, h, w), np.arange(n * h * w, dtype=np.int32).reshape(shape[:-1]))


# ---- moves

def _view(reader: Reader, variable: Any, source: Any, move: Callable[[Array], Array]) -> Node | None:
    source = reader.given(source)
    form = None if isinstance(source, np.ndarray) else form_of(reader, source)
    if form is None:
        return None
    shape = tuple(int(d) for d in variable.ty.shape)
    reader.forms[variable] = form.moved(move(form.index).reshape(shape))
    return Node(variable, None, "moved", (form.base,), shape)


def _reshape(reader: Reader, variable: Any, call: Any) -> Node | None:
    return _view(reader, variable, call.args[0], lambda index: index)


def _permute(reader: Reader, variable: Any, call: Any) -> Node | None:
    axes = None if call.attrs.axes is None else [int(a) for a in call.attrs.axes]
    return _view(reader, variable, call.args[0], lambda index: index.transpose(axes))


def _slice(reader: Reader, variable: Any, call: Any) -> Node | None:
    axes, begins, ends, *rest = (_numbers(a) for a in call.args[1:])
    steps = rest[0] if rest else [1] * len(axes)
    if min(steps, default=1) < 1:
        return None

    def cut(index: Array) -> Array:
        for axis, begin, end, step in zip(axes, begins, ends, steps, strict=True):
            index = index[(slice(None),) * (axis % index.ndim) + (slice(begin, end, step),)]
        return index

    return _view(reader, variable, call.args[0], cut)


def _take(reader: Reader, variable: Any, call: Any) -> Node | None:
    places = reader.given(call.args[1])
    if not isinstance(places, np.ndarray):
        return None
    axis = None if call.attrs.axis is None else int(call.attrs.axis)
    source = reader.given(call.args[0])
    extent = reader.shapes.get(source, ()) if not isinstance(source, np.ndarray) else ()
    size = int(np.prod(extent)) if axis is None else extent[axis] if extent else 0
    if places.size and (int(places.min()) < 0 or int(places.max()) >= size):
        return None
    return _view(reader, variable, source, lambda index: np.take(index, places, axis))


def _concat(reader: Reader, variable: Any, call: Any) -> Node | None:
    """Parts of one image stay there: a roll is a slice and a concatenation. Others are copied into an image."""
    parts, shape = [reader.given(f) for f in call.args[0].fields], tuple(int(d) for d in variable.ty.shape)
    axis = int(call.attrs.axis or 0) % len(shape)
    forms = [None if isinstance(p, np.ndarray) else form_of(reader, p) for p in parts]
    if any(f is None and not isinstance(p, np.ndarray) for f, p in zip(forms, parts, strict=True)):
        return None
    known = [f for f in forms if f is not None]
    if len(known) == len(parts) and all(f.base == known[0].base for f in known):
        reader.forms[variable] = known[0].moved(np.concatenate([f.index for f in known], axis))
        return Node(variable, None, "moved", (known[0].base,), shape)
    if len(shape) not in (3, 4) or axis == len(shape) - 1 or not known:
        return None
    inputs: list[Any] = []
    places, start = [], 0
    for part, form in zip(parts, forms, strict=True):
        if form is None:
            if part.dtype != np.float32:
                return None
            array = np.moveaxis(part, -1, 1)
            own = np.moveaxis(np.arange(part.size, dtype=np.int32).reshape(array.shape), 1, -1)
            inputs.append(np.ascontiguousarray(array).reshape(part.shape[0], part.shape[-1], -1, 1))
        else:
            own = form.index
            inputs.append(form.base)
        places.append(own + start)
        start += part.size if form is None else int(np.prod(form.image))
    reader.forms[variable] = _in_order(variable, shape)
    return Node(variable, None, "gather", tuple(inputs), shape, gather=np.concatenate(places, axis))


# ---- tokens

def _whole(reader: Reader, variable: Any) -> Form | None:
    """The form in which something may be done to each token: of all tokens of an image. Others are copied into one."""
    form = form_of(reader, variable)
    if form is None or form.whole:
        return form
    node = reader.known.get(variable)
    if node is None or node.kind != "moved" or form.index.ndim not in (2, 3, 4):
        return None
    own = _in_order(variable, form.index.shape) if form.index.ndim > 2 else Form.of_tokens(
        variable, (*form.index.shape, 1, 1), np.arange(form.index.shape[0], dtype=np.int32))
    reader.forms[variable] = own
    reader.reread(Node(variable, node.value, "gather", node.inputs, node.shape, gather=form.index))
    return own


def _matmul(reader: Reader, variable: Any, call: Any) -> Node | None:
    """(..., K) x constant (K, M): a convolution of 1 x 1."""
    data, weights = reader.given(call.args[0]), reader.given(call.args[1])
    if isinstance(data, np.ndarray) or not isinstance(weights, np.ndarray) or weights.ndim != 2:
        return None
    form = _whole(reader, data) if weights.dtype == np.float32 else None
    if form is None or form.tokens is None:
        return None
    n, c, h, w = form.image
    window = Window(n=n, ci=c, co=weights.shape[1], h=h, w=w, kernel=(1, 1))
    reader.forms[variable] = Form.of_tokens(variable, (n, window.co, h, w), form.tokens)
    return Node(variable, call, "convolution", (data,), (*form.index.shape[:-1], window.co), window=window,
                weights=weights.T[:, :, None, None])


def _norm(reader: Reader, variable: Any, call: Any) -> Node | None:
    data, scale, shift = (reader.given(a) for a in call.args)
    if isinstance(data, np.ndarray) or not isinstance(scale, np.ndarray) or not isinstance(shift, np.ndarray):
        return None
    shape = reader.shapes.get(data, ())
    last = [int(a) % len(shape) for a in call.attrs.axes] == [len(shape) - 1]
    if not last or not scale.shape == shift.shape == shape[-1:]:
        return None
    form = _whole(reader, data)
    if form is None or form.tokens is None:
        return None
    reader.forms[variable] = Form.of_tokens(variable, form.image, form.tokens)
    return Node(variable, call, "norm", (data, scale, shift), shape, epsilon=float(call.attrs.epsilon))


def _mean(reader: Reader, variable: Any, call: Any) -> Node | None:
    """Over all tokens of each image."""
    data = reader.given(call.args[0])
    if isinstance(data, np.ndarray) or call.attrs.axis is None:
        return None
    shape = reader.shapes.get(data, ())
    axes = sorted(int(a) % len(shape) for a in call.attrs.axis)
    form = _whole(reader, data) if axes == list(range(1, len(shape) - 1)) else None
    if form is None or form.tokens is None or form.image[0] != shape[0]:
        return None
    n, c, _, _ = form.image
    if (form.tokens.reshape(n, -1) // form.pixels != np.arange(n)[:, None]).any():
        return None
    result = tuple(int(d) for d in variable.ty.shape)
    reader.forms[variable] = Form.of_tokens(variable, (n, c, 1, 1), np.arange(n, dtype=np.int32).reshape(result[:-1]))
    return Node(variable, call, "mean", (data,), result)


def settle(reader: Reader, variable: Any) -> None:
    """An image that was made by moving elements about is copied, for what reads neighbours."""
    form, shape = reader.forms.get(variable), reader.shapes.get(variable, ())
    node = reader.known.get(variable)
    if form is None or node is None or node.kind != "moved" or len(shape) != 4 or form.shows(shape):
        return
    del reader.forms[variable]
    reader.reread(Node(variable, node.value, "gather", node.inputs, shape, gather=np.moveaxis(form.index, 1, -1)))


def keep_form(reader: Reader, node: Node) -> None:
    """An elementwise function's result lies as its largest input does."""
    for given in node.inputs:
        if isinstance(given, np.ndarray) or given not in reader.forms or reader.shapes.get(given) != node.shape:
            continue
        form = reader.forms[given]
        if form.complete:
            reader.forms[node.variable] = Form(node.variable, form.image, form.index)
        break


def read_batch_norm(reader: Reader, variable: Any, call: Any) -> Node | None:
    """As it is in inference: a factor and a summand per channel."""
    data, *given = (reader.given(a) for a in call.args)
    arrays = [a for a in given if isinstance(a, np.ndarray)]
    if isinstance(data, np.ndarray) or len(arrays) != 4 or int(call.attrs.axis) != 1 or bool(call.attrs.training):
        return None
    scale, shift, mean, variance = (a.astype(np.float64) for a in arrays)
    factor = (scale if call.attrs.scale else 1.0) / np.sqrt(variance + float(call.attrs.epsilon))
    summand = (shift if call.attrs.center else 0.0) - mean * factor
    shape = reader.shapes[data]
    spread = (1, -1) + (1,) * (len(shape) - 2)
    return Node(variable, None, "elementwise",
                (data, *(np.asarray(a, np.float32).reshape(spread) for a in (factor, summand))), shape,
                apply=Apply("multiply_add", ()))


def _numbers(value: Any) -> list[int]:
    return [int(getattr(f, "value", f)) for f in getattr(value, "fields", value)]


_READERS: dict[str, Callable[[Reader, Any, Any], Node | None]] = {
    "relax.reshape": _reshape, "relax.squeeze": _reshape, "relax.expand_dims": _reshape, "relax.flatten": _reshape,
    "relax.permute_dims": _permute, "relax.strided_slice": _slice, "relax.take": _take, "relax.concat": _concat,
    "relax.matmul": _matmul, "relax.nn.layer_norm": _norm, "relax.mean": _mean}
