"""Tokens that nobody reads are not computed: where only the last block's class token is taken, it is computed alone.

Copying tokens and computing on each commute, so copies move up as far as nothing else needs the other tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from edgecls.backends.tvm.blocked.form import Form
from edgecls.backends.tvm.blocked.heads import Attention
from edgecls.backends.tvm.blocked.node import Graph, Node
from edgecls.types import Array

_OWN = ("convolution", "attention", "norm", "elementwise", "gather")


def narrow(graph: Graph, variables: Callable[[Any], list[Any]]) -> None:
    """Replace nodes in place. variables: every variable that an expression reads."""
    narrower = _Narrower(graph)
    for variable in variables(graph.result):
        narrower.reads(None, [variable])
    done: list[Node] = []
    waiting = list(graph.nodes)
    while waiting:
        node = waiting.pop()
        others = narrower.narrowed(node)
        if others:
            waiting += others
            continue
        if node.variable in narrower.readers or node.kind == "moved":
            done.append(node)
        if node.variable in narrower.readers and node.kind != "moved":
            given = variables(node.value) if node.kind == "other" else node.inputs
            narrower.reads(node, [v for v in given if not isinstance(v, np.ndarray)])
    graph.nodes = [narrower.nodes[node.variable] for node in reversed(done)]


class _Narrower:
    """readers: of each base, the live nodes behind it; None is the network's result."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.variable: node for node in graph.nodes}
        self.readers: dict[Any, list[Node | None]] = {}

    def reads(self, node: Node | None, variables: list[Any]) -> None:
        for variable in variables:
            self.readers.setdefault(variable, []).append(node)
            if self._base(variable) != variable:
                self.readers.setdefault(self._base(variable), []).append(node)

    def narrowed(self, node: Node) -> list[Node]:
        """What takes the node's place, in order; nothing if it stays."""
        readers = self.readers.get(node.variable, [])
        form = self.graph.forms.get(node.variable)
        if not readers or form is None or form.base != node.variable or not self._own(node):
            return []
        picks = [self._picked(reader, node.variable) for reader in readers]
        pixels = picks[0]
        if pixels is None or pixels.size >= form.pixels:
            return []
        if any(p is None or not np.array_equal(p, pixels) for p in picks):
            return []
        return self._replacement(node, form, pixels, [r for r in readers if r is not None])

    def _picked(self, reader: Node | None, base: Any) -> Array | None:
        """The pixels that a copy takes of each image, all channels of them; None for any other reader."""
        if reader is None or reader.kind != "gather" or len(reader.inputs) != 1 or reader.gather is None:
            return None
        image = self.graph.forms[base].image
        tokens = Form(base, image, reader.gather).tokens
        if tokens is None or tokens.size % image[0]:
            return None
        pixels = tokens.reshape(image[0], -1) - np.arange(image[0])[:, None] * (image[2] * image[3])
        return pixels[0] if (pixels == pixels[0]).all() and (pixels >= 0).all() else None

    def _replacement(self, node: Node, form: Form, pixels: Array, readers: list[Node]) -> list[Node]:
        from tvm import relax

        n, c, _, _ = form.image
        shape = (n, pixels.size, c)
        variable = relax.Var(node.variable.name, relax.TensorType(shape, "float32"))
        self.graph.shapes[variable] = shape
        own = self.graph.forms[variable] = Form.of_tokens(
            variable, (n, c, 1, pixels.size), np.arange(n * pixels.size, dtype=np.int32).reshape(n, -1))
        made: list[Node] = []
        if node.attention is not None:
            queries = self._input(node, node.inputs[0], pixels, made)
            made.append(replace(node, variable=variable, inputs=(queries, *node.inputs[1:]), shape=shape,
                                attention=_rows(node.attention, queries, pixels)))
        else:
            inputs = tuple(self._input(node, given, pixels, made) for given in node.inputs)
            window = node.window and msgspec.structs.replace(node.window, h=1, w=pixels.size)
            made.append(replace(node, variable=variable, inputs=inputs, shape=shape, window=window))
        for reader in readers:
            self.graph.values.pop(reader.variable, None)  # what it reads is no longer computed
            moved = own.index.reshape(self.graph.shapes[reader.variable])
            self.graph.forms[reader.variable] = own.moved(moved)
            self.nodes[reader.variable] = replace(reader, kind="moved", inputs=(variable,), gather=None)
        self.readers[variable] = [r for reader in readers for r in self.readers.get(reader.variable, [])]
        self.nodes.update({m.variable: m for m in made})
        return made

    def _input(self, node: Node, given: Any, pixels: Array, made: list[Node]) -> Any:
        from tvm import relax

        form = self.graph.forms[node.variable]
        if isinstance(given, np.ndarray):
            c = form.image[1]
            if node.kind != "elementwise" or given.size == 1 or (given.size == c and given.shape[-1:] == (c,)):
                return given
            return np.ascontiguousarray(form.laid_out(given)[:, :, pixels].transpose(0, 2, 1))
        source, (n, c, _, _) = self.graph.forms[given], self.graph.image(given)
        places = np.arange(n, dtype=np.int32)[:, None] * source.pixels + pixels
        index = Form.of_tokens(source.base, source.image, places).index
        shape = (n, pixels.size, c)
        variable = relax.Var(given.name, relax.TensorType(shape, "float32"))
        self.graph.shapes[variable] = shape
        self.graph.forms[variable] = Form.of_tokens(
            variable, (n, c, 1, pixels.size), np.arange(n * pixels.size, dtype=np.int32).reshape(n, -1))
        made.append(Node(variable, node.value, "gather", (source.base,), shape, gather=index))
        return variable

    def _base(self, variable: Any) -> Any:
        form = self.graph.forms.get(variable)
        return form.base if form is not None else variable

    def _own(self, node: Node) -> bool:
        """Whether each token (of attention: each query) is computed alone, and certainly by a kernel of ours."""
        if node.kind not in ("convolution", "attention", "norm", "elementwise"):
            return False
        forms = [self.graph.forms.get(i) for i in node.inputs if not isinstance(i, np.ndarray)]
        if not self._certain(node.variable) or any(f is None for f in forms):
            return False
        if node.kind == "convolution":
            return node.window is not None and node.window.pointwise and all(f is not None and f.whole for f in forms)
        if node.kind == "attention":
            return node.attention is not None and len(node.attention.queries.tokens) == 1
        form = self.graph.forms[node.variable]
        return all(f is not None and f.whole and f.aligned(form) for f in forms if f)

    def _certain(self, variable: Any) -> bool:
        node = self.nodes.get(self._base(variable))
        if node is None or node.kind not in _OWN:
            return False
        return node.kind == "convolution" or all(self._certain(i) for i in node.inputs if not isinstance(i, np.ndarray))


def _rows(attention: Attention, queries: Any, pixels: Array) -> Attention:
    """Of the queries at these pixels, which are now all that there are."""
    order = np.argsort(attention.queries.tokens[0])[pixels]
    gate = attention.gate and replace(attention.gate, summand=attention.gate.summand[:, :, order])
    tokens = np.arange(pixels.size, dtype=np.int32)[None]
    return replace(attention, queries=replace(attention.queries, base=queries, tokens=tokens),
                   biases=tuple(b[:, :, order] for b in attention.biases), gate=gate)
