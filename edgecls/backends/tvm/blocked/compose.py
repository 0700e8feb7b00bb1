"""Concatenation, shuffle and split behind one another become one step: each channel moves once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgecls.backends.tvm.blocked.graph import Graph, Node
from edgecls.backends.tvm.blocked.groups import needed_by


def compose_channels(graph: Graph) -> Graph:
    """The graph whose channels nodes read past those that nothing else reads."""
    nodes = {node.variable: node for node in graph.nodes}
    users = needed_by(graph)
    done: dict[Any, Node] = {}
    for node in graph.nodes:
        moved = [i for i in node.inputs if node.kind == "channels" and i in done and done[i].kind == "channels"]
        passed = {i: done[i] for i in moved
                  if all(user is not None and nodes[user].kind == "channels" for user in users.get(i, ()))}
        done[node.variable] = _past(node, passed) if passed else node
    return replace(graph, nodes=list(done.values()))


def _past(node: Node, passed: dict[Any, Node]) -> Node:
    """The node with the inputs of those that are passed, as far as it uses them."""
    origins = []
    for number, channel in node.sources:
        variable = node.inputs[number]
        while variable in passed:
            number, channel = passed[variable].sources[channel]
            variable = passed[variable].inputs[number]
        origins.append((variable, channel))
    inputs = list(dict.fromkeys(variable for variable, _ in origins))
    places = {variable: i for i, variable in enumerate(inputs)}
    return replace(node, inputs=tuple(inputs), sources=tuple((places[v], channel) for v, channel in origins),
                   passed=tuple(v for i, own in passed.items() for v in (*own.passed, i)))
