"""From built engines to the bundle's members, manifest and table of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from edgecls.backends.tensorrt.answers import Built
from edgecls.backends.tensorrt.inspection import (
    EngineLayer,
    by_profile,
    count_precisions,
    layers_from_inspector,
    layers_from_log,
)
from edgecls.backends.tensorrt.layers import describe_layers
from edgecls.backends.tensorrt.network import Network, at_batch
from edgecls.backends.tensorrt.recipe import Part
from edgecls.frozen import sha256
from edgecls.types import Layer, PlanFacts


def engine_layers(network: Network, built: Built) -> dict[int, list[EngineLayer]]:
    """By batch size: EngineInspector's, where there was a GPU; else those of the builder's log."""
    count = len(network.batches)
    tables = [layers_from_inspector(text) for text in built.inspector]
    if len(tables) == count and all(tables):
        # a table tells of its own profile, or of all
        found = [by_profile(table, count)[index] or table for index, table in enumerate(tables)]
    else:
        found = by_profile(layers_from_log(built.layers), count)
    return dict(zip(network.batches, found, strict=True))


def make_part(network: Network, built: Built | None, known: Mapping[str, Any]) -> Part:
    """known: the fields of Part that say what the bundle holds."""
    facts = dict(known)
    if built is not None:
        engine = engine_layers(network, built)
        facts |= {
            "network_layers": built.network_layers, "network_types": built.network_types,
            "engine_layers": {str(batch): len(layers) for batch, layers in engine.items()},
            "engine_types": {str(batch): count_precisions(layers) for batch, layers in engine.items()},
            "activation_bytes": built.memory.get("activation", 0)}
    profiles = tuple({name: tuple(shape) for name, shape in profile.items()} for profile in network.profiles)
    return Part(batches=network.batches, network_sha256=sha256(network.onnx), profiles=profiles, **facts)


def describe_all(networks: Sequence[Network], builds: Sequence[Built | None], batches: Sequence[int]) -> list[Layer]:
    """The rows of every batch size, in ascending order of batch."""
    rows: list[Layer] = []
    for batch in batches:
        network, built = next((n, b) for n, b in zip(networks, builds, strict=True) if batch in n.batches)
        if built is not None:
            model = onnx.load_from_string(at_batch(network, batch))
            rows += describe_layers(engine_layers(network, built)[batch], model, batch, len(rows))
    return rows


def plan_facts(parts: Sequence[Part], rows: Sequence[Layer], batches: Sequence[int]) -> tuple[PlanFacts, ...]:
    """One for each batch size; an engine that serves several plans the memory of the largest."""
    facts = []
    for batch in batches:
        part = next(p for p in parts if batch in p.batches)
        facts.append(PlanFacts(
            batch=batch, calls=sum(row.batch == batch for row in rows), arena_bytes=part.activation_bytes,
            peak_bytes=part.activation_bytes, workspace_bytes_per_thread=0, network_layers=part.network_layers,
            engine_layers=part.engine_layers.get(str(batch))))
    return tuple(facts)
