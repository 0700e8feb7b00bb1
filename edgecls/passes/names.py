"""Names for nodes: `explain` shows them, so each is unique, and stable from one compile to the next."""

from __future__ import annotations

import onnx


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give nodes without a name, or with one that is taken, the name op_index ("conv_17")."""
    taken: set[str] = set()
    nameless = []
    for index, node in enumerate(graph.node):
        if node.name and node.name not in taken:
            taken.add(node.name)
        else:
            nameless.append((index, node))
    for index, node in nameless:
        name = f"{node.op_type.lower()}_{index}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)
