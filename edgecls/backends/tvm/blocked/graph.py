"""Relax's main as plain nodes, with what the families need to know of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from msgspec import structs

from edgecls.backends.tvm.blocked.attention import read_attention
from edgecls.backends.tvm.blocked.expression import Apply
from edgecls.backends.tvm.blocked.form import Form
from edgecls.backends.tvm.blocked.narrow import narrow
from edgecls.backends.tvm.blocked.node import Graph, Node, Pooling, Shape
from edgecls.backends.tvm.blocked.tokens import keep_form, read_batch_norm, read_part, read_tokens, settle
from edgecls.backends.tvm.blocked.window import Window
from edgecls.types import Array

_ELEMENTWISE = {"relax.add": "add", "relax.subtract": "subtract", "relax.multiply": "multiply",
                "relax.divide": "divide", "relax.maximum": "maximum", "relax.minimum": "minimum",
                "relax.nn.relu": "relu", "relax.negative": "negative", "relax.sqrt": "sqrt",
                "relax.rsqrt": "rsqrt", "relax.log": "log", "relax.abs": "abs",
                "relax.sigmoid": "sigmoid", "relax.tanh": "tanh", "relax.exp": "exp", "relax.erf": "erf",
                "relax.nn.gelu": "gelu", "relax.nn.gelu_tanh": "gelu_tanh"}


def read_graph(module: Any) -> Graph:
    """module: Relax operators on NCHW tensors, static shapes, constants folded."""
    from tvm import relax

    main = module["main"]
    reader = _Reader()
    for parameter in main.params:
        reader.shapes[parameter] = _shape(parameter)
    for block in main.body.blocks:
        for binding in block.bindings:
            reader.read(binding.var, binding.value)
    assert isinstance(main.body, relax.SeqExpr)
    graph = Graph(list(reader.known.values()), list(main.params), main.body.body, reader.shapes, forms=reader.forms,
                  constants=reader.constants, values=reader.values)
    narrow(graph, variables)
    return graph


class _Reader:
    def __init__(self) -> None:
        self.known: dict[Any, Node] = {}
        self.shapes: dict[Any, Shape] = {}
        self.constants: dict[Any, Array] = {}
        self.forms: dict[Any, Form] = {}
        self.values: dict[Any, Any] = {}

    def read(self, variable: Any, value: Any) -> None:
        from tvm import relax

        array = self._evaluated(value)
        if array is not None:
            self.constants[variable] = array
        self.values[variable] = value
        shape = _shape(variable) if isinstance(variable.ty, relax.TensorType) else ()
        if isinstance(variable.ty, relax.TensorType):
            self.shapes[variable] = shape
        node = None
        if isinstance(variable.ty, relax.TensorType) and str(variable.ty.dtype) == "float32":
            node = self._node(variable, value)
        node = node or Node(variable, value, "other", tuple(variables(value)), shape)
        self.known[variable] = replace(node, value=value)

    def _node(self, variable: Any, value: Any) -> Node | None:
        from tvm import relax

        if isinstance(value, relax.TupleGetItem):
            return self._part(variable, value)
        if not isinstance(value, relax.Call):
            return None
        name = getattr(value.op, "name", "")
        if name == "relax.nn.conv2d":
            settle(self, value.args[0])
        node = _READERS[name](self, variable, value) if name in _READERS and self._as_images(name, value) else None
        if node and node.kind == "elementwise":
            keep_form(self, node)
        node = node or read_tokens(self, variable, value)
        if node or name != "relax.matmul":
            return node
        return read_attention(self, variable, value) or _product(self, variable, value)

    def _as_images(self, name: str, value: Any) -> bool:
        """Whether all tensors have the form that the readers here expect."""
        formed = [v for v in variables(value) if v in self.forms]
        return name in _ANY_FORM or all(self.forms[v].shows(self.shapes[v]) for v in formed)

    def _evaluated(self, value: Any) -> Array | None:
        """Of what exporters write about shapes that are known."""
        from tvm import relax

        name = getattr(getattr(value, "op", None), "name", "")
        if name == "relax.shape_of" and isinstance(value, relax.Call):
            return np.asarray(_shape(value.args[0]), np.int64)
        if name == "relax.shape_to_tensor" and isinstance(value, relax.Call):
            return self.constants.get(value.args[0])
        if name == "relax.where" and isinstance(value, relax.Call):
            condition, first, second = (self.given(a) for a in value.args)
            if isinstance(condition, np.ndarray):
                chosen = first if condition.all() else second if not condition.any() else None
                if isinstance(chosen, np.ndarray) and chosen.shape == _shape(value):
                    return chosen
        return _constant(value)

    def reread(self, node: Node) -> None:
        self.known[node.variable] = node

    def given(self, argument: Any) -> Any:
        """The array behind a constant, else the variable."""
        array = _constant(argument)
        return array if array is not None else self.constants.get(argument, argument)

    def _part(self, variable: Any, value: Any) -> Node | None:
        """One result of a split along the channels."""
        source = self.known.get(value.tuple_value)
        name = getattr(getattr(source.value, "op", None), "name", "") if source else ""
        if source is not None and name == "relax.nn.batch_norm" and int(value.index) == 0:
            return read_batch_norm(self, variable, source.value)
        if source is None or name != "relax.split" or len(source.inputs) != 1:
            return None
        data, axis = source.inputs[0], int(source.value.attrs.axis)
        shape = _shape(variable)
        if len(shape) != 4 or axis not in (1, -3) or not self._as_images(name, source.value):
            return read_part(self, variable, source, int(value.index))
        fields = source.variable.ty.fields
        start = sum(int(f.shape[1]) for f in list(fields)[: int(value.index)])
        return Node(variable, value, "channels", (data,), shape,
                    sources=tuple((0, start + i) for i in range(shape[1])))


def _conv2d(reader: _Reader, variable: Any, call: Any) -> Node | None:
    a, shape = call.attrs, _shape(variable)
    data, weights = reader.given(call.args[0]), reader.given(call.args[1])
    if isinstance(data, np.ndarray) or not isinstance(weights, np.ndarray):
        return None
    if a.data_layout != "NCHW" or a.kernel_layout != "OIHW" or weights.dtype != np.float32:
        return None
    n, ci, h, w = _shape(data)
    window = Window(n=n, ci=ci, co=shape[1], h=h, w=w, kernel=(weights.shape[2], weights.shape[3]),
                    stride=_pair(a.strides), pad=_four(a.padding), dilation=_pair(a.dilation),
                    groups=int(a.groups))
    if (window.oh, window.ow) != shape[2:] or _reads_nothing(window):
        return None
    if window.groups == 1:
        return Node(variable, call, "convolution", (data,), shape, window=window, weights=weights)
    if window.groups == ci == window.co:
        return Node(variable, call, "depthwise", (data,), shape, window=window, weights=weights)
    return Node(variable, call, "grouped", (data,), shape, window=window, weights=weights)


def _reads_nothing(window: Window) -> bool:
    """Padding so wide that some outputs see no pixel at all."""
    reach = [d * (k - 1) for d, k in zip(window.dilation, window.kernel, strict=True)]
    return any(p > r for p, r in zip(window.pad, (*reach, *reach), strict=True))


def _pool(reader: _Reader, variable: Any, call: Any) -> Node | None:
    a, shape = call.attrs, _shape(variable)
    data = reader.given(call.args[0])
    if isinstance(data, np.ndarray) or a.layout != "NCHW" or len(shape) != 4:
        return None
    n, c, h, w = _shape(data)
    kernel = _pair(a.pool_size)
    if kernel == (1, 1) and _shape(data) == shape:
        return Node(variable, call, "view", (data,), shape)
    pad = _four(a.padding)
    window = Window(n=n, ci=c, co=c, h=h, w=w, kernel=kernel, stride=_pair(a.strides), pad=pad,
                    dilation=_pair(a.dilation), groups=c)
    more = [max(0, (o - 1) * s + d * (k - 1) + 1 - size - before - behind) if bool(a.ceil_mode) else 0
            for o, s, d, k, size, before, behind in zip(shape[2:], window.stride, window.dilation, kernel, (h, w),
                                                        pad[:2], pad[2:], strict=True)]
    window = structs.replace(window, pad=(pad[0], pad[1], pad[2] + more[0], pad[3] + more[1]))
    if (window.oh, window.ow) != shape[2:] or _reads_nothing(window):
        return None
    average = Pooling("average", pad if bool(a.count_include_pad) else (0, 0, 0, 0))
    return Node(variable, call, "pool", (data,), shape, window=window,
                pooling=Pooling("max") if call.op.name == "relax.nn.max_pool2d" else average)


def _mean(reader: _Reader, variable: Any, call: Any) -> Node | None:
    data = reader.given(call.args[0])
    if isinstance(data, np.ndarray) or len(_shape(data)) != 4:
        return None
    axes = sorted(int(x) % 4 for x in call.attrs.axis) if call.attrs.axis is not None else []
    return Node(variable, call, "mean", (data,), _shape(variable)) if axes == [2, 3] else None


def _elementwise(reader: _Reader, variable: Any, call: Any) -> Node | None:
    inputs = tuple(reader.given(a) for a in call.args)
    if call.op.name == "relax.clip":
        low, high = (float(_number(a)) for a in call.args[1:])
        return Node(variable, call, "elementwise", inputs[:1], _shape(variable), apply=Apply("clip", (), (low, high)))
    return Node(variable, call, "elementwise", inputs, _shape(variable), apply=Apply(_ELEMENTWISE[call.op.name], ()))


def _power(reader: _Reader, variable: Any, call: Any) -> Node | None:
    """By one constant exponent."""
    exponent = np.asarray(2.0) if call.op.name == "relax.square" else reader.given(call.args[1])
    if not isinstance(exponent, np.ndarray) or exponent.size != 1 or not np.isfinite(exponent).all():
        return None
    apply = Apply("power", (), (float(exponent.reshape(-1)[0]),))
    return Node(variable, call, "elementwise", (reader.given(call.args[0]),), _shape(variable), apply=apply)


def _rectified(reader: _Reader, variable: Any, call: Any) -> Node | None:
    """With a slope below zero: a number, or one for each channel."""
    shape = _shape(variable)
    if call.op.name == "relax.nn.leakyrelu":
        slope = np.asarray(call.attrs.alpha, np.float32)
    else:
        slope = reader.given(call.args[1])
        if not isinstance(slope, np.ndarray):
            return None
        axis = int(call.attrs.axis) % len(shape)
        slope = slope.reshape(1 if slope.size == 1 else (-1, *[1] * (len(shape) - 1 - axis)))
    inputs = (reader.given(call.args[0]), slope)
    return Node(variable, call, "elementwise", inputs, shape, apply=Apply("prelu", ()))


def _max(reader: _Reader, variable: Any, call: Any) -> Node | None:
    """The largest value of each channel: pooling by a window of the whole image."""
    data = reader.given(call.args[0])
    if isinstance(data, np.ndarray) or len(_shape(data)) != 4 or call.attrs.axis is None:
        return None
    n, c, h, w = _shape(data)
    window = Window(n=n, ci=c, co=c, h=h, w=w, kernel=(h, w), groups=c)
    if sorted(int(x) % 4 for x in call.attrs.axis) != [2, 3]:
        return None
    return Node(variable, call, "pool", (data,), _shape(variable), window=window, pooling=Pooling("max"))


def _matmul(reader: _Reader, variable: Any, call: Any) -> Node | None:
    """(N, K) x constant (K, M): a convolution whose window is the whole image."""
    data, weights = reader.given(call.args[0]), reader.given(call.args[1])
    if isinstance(data, np.ndarray) or not isinstance(weights, np.ndarray) or weights.ndim != 2:
        return None
    if len(_shape(data)) != 2 or weights.dtype != np.float32:
        return None
    n, k = _shape(data)
    window = Window(n=n, ci=k, co=weights.shape[1], h=1, w=1, kernel=(1, 1))
    return Node(variable, call, "convolution", (data,), _shape(variable), window=window,
                weights=weights.T[:, :, None, None])


def _product(reader: _Reader, variable: Any, call: Any) -> Node | None:
    """Both computed."""
    left, right = (reader.given(a) for a in call.args)
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return None
    first, second, shape = _shape(left), _shape(right), _shape(variable)
    if min(len(first), len(second)) < 2 or 0 in (*first, *second):
        return None
    return Node(variable, call, "matmul", (left, right), shape, factors=(first, second))


def _reshape(reader: _Reader, variable: Any, call: Any) -> Node | None:
    """(N, C, 1, 1) -> (N, C) and back; flattening an image; a shuffle's three steps are read at its last."""
    data, shape = reader.given(call.args[0]), _shape(variable)
    if isinstance(data, np.ndarray):
        return None
    before = _shape(data)
    if data in reader.forms and not reader.forms[data].shows(before):
        return _shuffled(reader, variable, call, data, shape)
    if len(before) in (2, 4) and len(shape) in (2, 4) and before[0] == shape[0]:
        if before[1] == shape[1] and math.prod(before) == before[0] * before[1]:
            return Node(variable, call, "view", (data,), shape)
        if len(before) == 4 and len(shape) == 2 and shape[1] == math.prod(before[1:]):
            return Node(variable, call, "view", (data,), shape)
    return _shuffled(reader, variable, call, data, shape)


def _shuffled(reader: _Reader, variable: Any, call: Any, data: Any, shape: Shape) -> Node | None:
    """reshape (N, g, C/g, H, W) > permute (0, 2, 1, 3, 4) > reshape: channels in another order."""
    permute = reader.known.get(data)
    if permute is None or getattr(getattr(permute.value, "op", None), "name", "") != "relax.permute_dims":
        return None
    axes = [int(i) for i in permute.value.attrs.axes or ()]
    first = reader.known.get(permute.value.args[0])
    if axes != [0, 2, 1, 3, 4] or first is None or getattr(first.value.op, "name", "") != "relax.reshape":
        return None
    source = first.value.args[0]
    inner, outer = _shape(first.variable), reader.shapes.get(source, ())
    if len(outer) != 4 or outer != shape or inner != (outer[0], inner[1], outer[1] // inner[1], *outer[2:]):
        return None
    order = np.arange(outer[1]).reshape(inner[1], inner[2]).T.reshape(-1)
    return Node(variable, call, "channels", (source,), shape, sources=tuple((0, int(c)) for c in order))


def _concat(reader: _Reader, variable: Any, call: Any) -> Node | None:
    parts, shape = [reader.given(f) for f in call.args[0].fields], _shape(variable)
    if any(isinstance(p, np.ndarray) for p in parts) or len(shape) != 4 or int(call.attrs.axis) not in (1, -3):
        return None
    return Node(variable, call, "channels", tuple(parts), shape,
                sources=tuple((i, c) for i, p in enumerate(parts) for c in range(_shape(p)[1])))


_READERS: dict[str, Callable[[_Reader, Any, Any], Node | None]] = {
    "relax.nn.conv2d": _conv2d, "relax.nn.max_pool2d": _pool, "relax.nn.avg_pool2d": _pool, "relax.mean": _mean,
    "relax.matmul": _matmul, "relax.reshape": _reshape, "relax.concat": _concat, "relax.clip": _elementwise,
    "relax.power": _power, "relax.square": _power, "relax.nn.leakyrelu": _rectified, "relax.nn.prelu": _rectified,
    "relax.max": _max,
    **dict.fromkeys(_ELEMENTWISE, _elementwise)}


# convolution and pooling take images; these look for themselves
_ANY_FORM = ("relax.reshape", "relax.clip", "relax.power", "relax.square", "relax.nn.leakyrelu", "relax.nn.prelu",
             *_ELEMENTWISE)


def _shape(value: Any) -> Shape:
    return tuple(int(d) for d in value.ty.shape)


def _pair(values: Any) -> tuple[int, int]:
    a, b = (int(v) for v in values)
    return a, b


def _four(values: Any) -> tuple[int, int, int, int]:
    a, b, c, d = (int(v) for v in values)
    return a, b, c, d


def _constant(value: Any) -> Array | None:
    data: Any = getattr(value, "value", None)
    array: Array | None = data.numpy() if hasattr(data, "numpy") else None
    return array


def _number(value: Any) -> float:
    """A PrimValue's or a constant's."""
    array = _constant(value)
    inner = getattr(value, "value", value)
    return float(array) if array is not None else float(getattr(inner, "value", inner))


def variables(value: Any) -> list[Any]:
    """Every variable that a Relax expression reads."""
    from tvm import relax

    if isinstance(value, relax.Var):
        return [value]
    if isinstance(value, relax.Call):
        return [v for a in value.args for v in variables(a)]
    if isinstance(value, relax.Tuple):
        return [v for f in value.fields for v in variables(f)]
    return variables(value.tuple_value) if isinstance(value, relax.TupleGetItem) else []
