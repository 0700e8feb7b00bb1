"""Transposes that cancel, do nothing, or that the matrix product can do itself."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from edgecls.passes.network import Network, attributes, maps, set_attribute, static_shape
from edgecls.passes.rewire import bypass, remove_unread


def clean_transposes(network: Network) -> None:
    """Merge consecutive transposes, remove identities, set Gemm's transA and transB."""
    if not any(maps(node, "Transpose") for node in network.graph.node):
        return
    orders = _merge_transposes(network, network.infer_types())
    bypass(network, lambda node: str(node.input[0]) if _is_idle(orders.get(node.output[0])) else None)
    transposes = {n.output[0]: n for n in network.graph.node if orders.get(n.output[0]) == [1, 0]}
    for node in network.graph.node:
        if maps(node, "Gemm"):
            for side, flag in enumerate(("transA", "transB")):
                if node.input[side] in transposes:
                    node.input[side] = transposes[node.input[side]].input[0]
                    set_attribute(node, flag, 1 - attributes(node).get(flag, 0))
    remove_unread(network)


def _merge_transposes(network: Network, types: Mapping[str, onnx.TypeProto]) -> dict[str, list[int]]:
    """Let each read what the transposes in front of it read; their permutations, by the value they write."""
    orders: dict[str, list[int]] = {}
    sources: dict[str, str] = {}
    for node in network.graph.node:
        shape = static_shape(types.get(node.input[0])) if maps(node, "Transpose") else None
        if shape is None:
            continue
        value, result = node.input[0], node.output[0]
        order = attributes(node).get("perm", [*reversed(range(len(shape)))])
        if value in orders:
            order = [orders[value][axis] for axis in order]
            value = node.input[0] = sources[value]
            set_attribute(node, "perm", order)
        orders[result], sources[result] = order, value
    return orders


def _is_idle(order: list[int] | None) -> bool:
    return order is not None and order == sorted(order)
