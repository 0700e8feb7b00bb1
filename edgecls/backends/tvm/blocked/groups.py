"""Which nodes run in one kernel: a family's own work and the elementwise functions after it, as its epilogue."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecls.backends.tvm.blocked.expression import TILE, Apply, Expression, Number, Operand, Spread
from edgecls.backends.tvm.blocked.form import Form
from edgecls.backends.tvm.blocked.graph import variables
from edgecls.backends.tvm.blocked.node import PLAIN, Graph, Node, Shape
from edgecls.types import Array


@dataclass
class Group:
    """anchor: what the kernel computes itself. members: the anchor and what its epilogue took, in order. others: the
    epilogue's tensors by operand number: variables, or arrays: one value per channel, or (N, C, pixels)."""

    anchor: Node
    members: list[Node]
    expression: Expression = TILE
    others: list[tuple[Any, Spread]] = field(default_factory=list)

    @property
    def result(self) -> Any:
        return self.members[-1].variable

    @property
    def shape(self) -> Shape:
        return self.members[-1].shape


def live(graph: Graph) -> list[Node]:
    """The nodes that the result depends on."""
    needed = set(_uses_of(graph.result))
    kept = []
    for node in reversed(graph.nodes):
        if node.variable in needed:
            kept.append(node)
            needed.update(_reads(node), variables(node.value))
    return list(reversed(kept))


def needed_by(graph: Graph) -> dict[Any, set[Any]]:
    """Which variables read each one, None for the result; only those that the result depends on, as the nodes say."""
    users: dict[Any, set[Any]] = {variable: {None} for variable in _uses_of(graph.result)}
    for node in reversed(graph.nodes):
        for variable in _reads(node) if node.variable in users else ():
            users.setdefault(variable, set()).add(node.variable)
    return users


def group(graph: Graph) -> list[Group]:
    """Every node that is needed in exactly one group, in an order in which each group's inputs come before it."""
    nodes = live(graph)
    users = needed_by(graph)
    place = {node.variable: i for i, node in enumerate(nodes)}
    blocked: set[Any] = set()
    taken: set[Any] = set()
    groups = []
    for node in nodes:
        if node.variable in taken:
            continue
        found = _start(node, graph, blocked)
        if found.anchor.kind not in (*PLAIN, "view", "moved", "gather", "attention"):
            _grow(found, nodes[place[node.variable] + 1:], users, graph, taken)
        taken.update(m.variable for m in found.members)
        if found.anchor.kind == "view" and len(node.shape) == 2 and math.prod(graph.shapes[node.inputs[0]][2:]) > 1:
            graph.flattened.add(node.variable)
        elif found.anchor.kind not in PLAIN:
            blocked.update(m.variable for m in found.members)
        groups.append(found)
    return _needed(sorted(groups, key=lambda g: place[g.result]), graph)


def last_readers(groups: list[Group], graph: Graph) -> dict[Any, Any]:
    """Which group is the last to read each tensor, by the tensor's first variable. The network's results are read after
    all groups."""
    made = {member.result for member in groups if member.anchor.kind != "moved"}
    found: dict[Any, Any] = {}
    for member in groups:
        read = [*_reads(member.anchor), *(o for o, _ in member.others if not isinstance(o, np.ndarray))]
        for variable in _behind(read, graph, made) if member.anchor.kind in PLAIN else read:
            found[graph.root(variable)] = member
    return found | {graph.root(variable): None for variable in _behind(_uses_of(graph.result), graph, made)}


def _behind(read: list[Any], graph: Graph, made: set[Any]) -> set[Any]:
    """These, and what those of them are computed from that no group makes: TVM's operators move tensors that have only
    a form."""
    found: set[Any] = set()
    waiting = list(read)
    while waiting:
        variable = waiting.pop()
        if variable not in found:
            found.add(variable)
            waiting += variables(graph.values.get(variable)) if variable not in made else []
    return found


def _needed(groups: list[Group], graph: Graph) -> list[Group]:
    """Without what only led to an own kernel that reads further up: the split behind its parts, a shuffle's steps."""
    needed = set(_uses_of(graph.result))
    kept = []
    for found in reversed(groups):
        if found.result in needed:
            kept.append(found)
            needed.update(i for i in (*found.anchor.inputs, *(o for o, _ in found.others))
                          if not isinstance(i, np.ndarray))
    return list(reversed(kept))


def _start(node: Node, graph: Graph, blocked: set[Any]) -> Group:
    """A convolution is always worth a blocked input; everything else is taken where its input is blocked already."""
    other = Group(Node(node.variable, node.value, "other", tuple(variables(node.value)), node.shape), [node])
    if node.kind == "convolution":
        taken = len(graph.shapes[node.inputs[0]]) > 2 or node.inputs[0] in blocked | graph.flattened
        return Group(node, [node]) if taken else other
    if node.kind in ("depthwise", "grouped", "matmul"):
        return Group(node, [node])
    if node.kind in ("pool", "mean", "view", "channels", "norm", "moved", "gather", "attention"):
        return Group(node, [node]) if all(i in blocked for i in _reads(node)) else other
    if node.kind == "elementwise":
        main = next((i for i in node.inputs if not isinstance(i, np.ndarray) and i in blocked
                     and graph.shapes[i] == node.shape and graph.aligned(i, node.variable)), None)
        started = Group(node, [node])
        expression = _applied(node, {main: TILE}, graph, started) if main is not None else None
        if expression is None:
            return other
        started.expression = expression
        started.anchor = Node(node.variable, node.value, "elementwise", (main,), node.shape)
        return started
    return other


def _grow(found: Group, later: list[Node], users: dict[Any, set[Any]], graph: Graph, taken: set[Any]) -> None:
    """Add elementwise functions that read the group, as far as one tensor alone is used outside of it."""
    values: dict[Any, Expression] = {found.anchor.variable: found.expression}
    members, best = list(found.members), 0
    trial = Group(found.anchor, members, found.expression, list(found.others))
    states: list[tuple[int, Expression, int]] = [(1, found.expression, len(trial.others))]
    waiting = {u for u in users.get(found.anchor.variable, ()) if u is not None}
    for node in later:
        if not waiting:
            break
        if node.variable not in waiting:
            continue
        waiting.discard(node.variable)
        if (node.kind not in ("moved", "elementwise") or node.variable in taken
                or not graph.same_image(node.variable, found.anchor.variable)):
            continue
        if node.kind == "moved" and node.inputs[0] in values:
            values[node.variable] = values[node.inputs[0]]
            members.append(node)
            waiting.update(u for u in users.get(node.variable, ()) if u is not None)
        if node.kind != "elementwise":
            continue
        expression = _applied(node, values, graph, trial)
        if expression is None:
            continue
        values[node.variable] = expression
        members.append(node)
        waiting.update(u for u in users.get(node.variable, ()) if u is not None)
        states.append((len(members), expression, len(trial.others)))
    for index, (count, _, _) in enumerate(states):
        inside = {m.variable for m in members[:count]}
        if all(users.get(m.variable, set()) <= inside for m in members[: count - 1]):
            best = index
    count, found.expression, others = states[best]
    found.members = members[:count]
    found.others = trial.others[:others]


def _applied(node: Node, values: dict[Any, Expression], graph: Graph, found: Group) -> Expression | None:
    """The node as an expression over the group; None when an argument has a shape that epilogues do not take."""
    assert node.apply is not None
    arguments: list[Expression] = []
    for given in node.inputs:
        if isinstance(given, np.ndarray) or given not in values:
            argument = _argument(given, node, graph, found)
        else:
            argument = values[given] if graph.aligned(given, node.variable) else None
        if argument is None:
            return None
        arguments.append(argument)
    return Apply(node.apply.function, tuple(arguments), node.apply.bounds)


def _argument(given: Any, node: Node, graph: Graph, found: Group) -> Expression | None:
    shape = node.shape
    own = given.shape if isinstance(given, np.ndarray) else graph.shapes.get(given)
    if own is None or (not isinstance(given, np.ndarray) and given in graph.flattened):
        return None
    spread: Spread
    if isinstance(given, np.ndarray):
        if given.dtype != np.float32:
            return None
        if given.size == 1:
            return Number(float(given.reshape(-1)[0]))
        if node.variable in graph.forms:
            return _constant(given, graph.forms[node.variable], found)
        aligned = (1,) * (len(shape) - given.ndim) + given.shape
        if len(aligned) != len(shape) or aligned[1] != shape[1] or given.size != shape[1]:
            return None
        spread = "channel"
    elif own == shape:
        if not graph.aligned(given, node.variable):
            return None
        spread = "full"
    elif node.variable not in graph.forms and len(shape) == 4 and own == (*shape[:2], 1, 1):
        spread = "image"
    else:
        return None
    for number, (known, _) in enumerate(found.others):
        if known is given:
            return Operand(number, spread)
    found.others.append((given, spread))
    return Operand(len(found.others) - 1, spread)


def _constant(given: Array, form: Form, found: Group) -> Expression:
    """An array that broadcasts to a tensor of this form."""
    _, c, _, _ = form.image
    if form.whole and given.shape[-1:] == (c,) and given.size == c:
        found.others.append((given, "channel"))
    else:
        values = form.laid_out(given)
        same = bool((values == values[:1, :, :1]).all())
        found.others.append((values[0, :, 0], "channel") if same else (values, "full"))
    return Operand(len(found.others) - 1, found.others[-1][1])


def _reads(node: Node) -> list[Any]:
    if node.kind == "other":
        return list(node.inputs)
    return [i for i in node.inputs if not isinstance(i, np.ndarray)]


def _uses_of(value: Any) -> list[Any]:
    from tvm import relax

    if isinstance(value, relax.Tuple):
        return [v for f in value.fields for v in _uses_of(f)]
    return [value] if isinstance(value, relax.Var) else []
