"""The network as plain nodes: what the families need to know of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from edgecls.backends.tvm.blocked.expression import Apply
from edgecls.backends.tvm.blocked.form import Form, Image
from edgecls.backends.tvm.blocked.heads import Attention
from edgecls.backends.tvm.blocked.window import Window
from edgecls.types import Array

Kind = Literal["convolution", "depthwise", "grouped", "pool", "mean", "elementwise", "channels", "view", "norm",
               "attention", "gather", "matmul", "moved", "other"]
# kinds whose kernels begin with a sum per result
SUMS = ("convolution", "depthwise", "grouped")
# kinds that read and make tensors as the network has them
PLAIN = ("matmul", "other")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pooling:
    """counted: rows and columns of padding (top, left, bottom, right) that an average counts."""

    kind: Literal["max", "average"]
    counted: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class Node:
    """One binding. inputs: variables or arrays, in the operator's order; value: the Relax expression.

    window: of convolution, depthwise, grouped and pool. weights: OIHW. apply: name and bounds of an elementwise
    function. sources: of channels: for each output channel (input number, channel); passed: variables of the nodes
    that it does the work of. epsilon: of norm, whose inputs are data, scale and shift. gather: channels last, for each
    element of the result its place among those of all inputs in a row. factors: of matmul, their shapes.
    """

    variable: Any
    value: Any
    kind: Kind
    inputs: tuple[Any, ...]
    shape: Shape
    window: Window | None = None
    weights: Array | None = None
    pooling: Pooling | None = None
    apply: Apply | None = None
    sources: tuple[tuple[int, int], ...] = ()
    passed: tuple[Any, ...] = ()
    epsilon: float = 0.0
    gather: Array | None = None
    attention: Attention | None = None
    factors: tuple[Shape, ...] = ()


@dataclass
class Graph:
    """result: the expression that main returns. flattened: (N, C*H*W) views of blocked images. forms: of tensors that
    are not images as they stand. constants: variables whose value is known. values: the expressions of variables."""

    nodes: list[Node]
    parameters: list[Any]
    result: Any
    shapes: dict[Any, Shape] = field(default_factory=dict)
    flattened: set[Any] = field(default_factory=set)
    forms: dict[Any, Form] = field(default_factory=dict)
    constants: dict[Any, Array] = field(default_factory=dict)
    values: dict[Any, Any] = field(default_factory=dict)

    def root(self, variable: Any) -> Any:
        """The variable in whose memory a tensor lies: that which a view shows, or a form moves about."""
        while True:
            form = self.forms.get(variable)
            shown = self._shown.get(variable) if form is None or form.base == variable else form.base
            if shown is None:
                return variable
            variable = shown

    @cached_property
    def _shown(self) -> dict[Any, Any]:
        return {n.variable: n.inputs[0] for n in self.nodes if n.kind == "view"}

    def same_image(self, a: Any, b: Any) -> bool:
        """Whether both tensors lie in images of one shape."""
        if a in self.forms or b in self.forms:
            return self.image(a) == self.image(b)
        return self.shapes.get(a) == self.shapes.get(b)

    def image(self, variable: Any) -> Image:
        """Images, channels, height, width."""
        if variable in self.forms:
            return self.forms[variable].image
        n, c, h, w = (*self.shapes[variable], 1, 1)[:4]
        return n, c, h, w

    def aligned(self, a: Any, b: Any) -> bool:
        """Whether elementwise functions may read both images side by side."""
        first, second = self.forms.get(a), self.forms.get(b)
        if first is None or second is None:
            return all(f is None or f.shows(self.shapes[v]) for f, v in ((first, a), (second, b)))
        return first.complete and first.aligned(second)
