"""Take nodes out of a network and join the loose ends."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from edgecls.passes.network import Network, reads

Source = Callable[[onnx.NodeProto], "str | None"]


def bypass(network: Network, source: Source) -> bool:
    """Remove every node whose only result equals a value it reads; whether there was one.

    source: node -> the name of that value, None for a node that does work. A node stays where both names must: it joins
    two network outputs, or an input or constant to an output, or an inner graph reads the name that would vanish.
    """
    graph = network.graph
    written = {name for node in graph.node for name in node.output}
    fixed = {v.name for v in graph.output} | _captured(graph)
    renamed: dict[str, str] = {}
    removed = set()
    for index, node in enumerate(graph.node):
        value = source(node)
        if value is None:
            continue
        value, result = _follow(renamed, value), node.output[0]
        if result in renamed:  # a reader stood before its writer
            continue
        if result not in fixed:
            renamed[result] = value
        elif value in written and value not in fixed:
            renamed[value] = result
        else:
            continue
        removed.add(index)
    if removed:
        network.remove_nodes(removed)
        for node in graph.node:
            for field in (node.input, node.output):
                for index, name in enumerate(field):
                    if name in renamed:
                        field[index] = _follow(renamed, name)
    return bool(removed)


def remove_unread(network: Network) -> None:
    """Remove the nodes that no output depends on, and then the constants that nothing reads."""
    nodes = network.graph.node
    writer = {name: index for index, node in enumerate(nodes) for name in node.output}
    needed: set[int] = set()
    names = [v.name for v in network.graph.output]
    while names:
        index = writer.get(names.pop())
        if index is not None and index not in needed:
            needed.add(index)
            names.extend(reads(nodes[index]))
    network.remove_nodes(set(range(len(nodes))) - needed)
    network.drop_unused_constants()


def _follow(renamed: dict[str, str], name: str) -> str:
    while name in renamed:
        name = renamed[name]
    return name


def _captured(graph: onnx.GraphProto) -> set[str]:
    """Names that inner graphs read."""
    bare = [onnx.NodeProto(attribute=[a for a in n.attribute if a.HasField("g") or a.graphs]) for n in graph.node]
    return {name for node in bare for name in reads(node)}
