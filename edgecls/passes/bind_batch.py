"""Bind the batch: from here on every shape is a number."""

from __future__ import annotations

from collections.abc import Sequence

from edgecls.errors import ModelError
from edgecls.passes.network import Network, static_shape


def bound_batch(network: Network) -> int | None:
    """The batch size the network was exported with, None when it is symbolic."""
    for value in network.inputs:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            return None
    for value in network.inputs:
        dims = value.type.tensor_type.shape.dim
        if dims:
            return int(dims[0].dim_value)
    return 1


def check_batches(network: Network, batches: Sequence[int] | None) -> tuple[int, ...]:
    """The sizes to build, ascending. None: 1, or the fixed one. Raises ModelError for what the network cannot take."""
    fixed = bound_batch(network)
    if batches is None:
        return (1 if fixed is None else fixed,)
    wrong = [b for b in batches if b < 1]
    if wrong or not batches:
        raise ModelError(f"{list(batches)} is no list of batch sizes", "give sizes from 1 on: --batch 1,8")
    refused = [b for b in batches if fixed is not None and b != fixed]
    if refused:
        raise ModelError(f"the network was exported for batch {fixed}, so it cannot be built for batch {refused[0]}",
                         f"export it again with a dynamic batch dimension, or compile with --batch {fixed}")
    return tuple(sorted(set(batches)))


def bind_batch(network: Network, batch: int) -> bool:
    """Replace the symbolic first dimension of the inputs by `batch`; whether there was one. Raises ModelError."""
    fired = False
    for value in network.inputs:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                continue
            if axis:
                raise ModelError(f"dimension {axis} of the input {value.name!r} is not fixed",
                                 "fix it with: edgecls export ... --input-size N (or HxW)")
            dim.dim_value = batch
            fired = True
    if fired:
        # Shapes that mention the symbol would contradict the number; inference tells them anew.
        for value in network.graph.output:
            value.type.tensor_type.ClearField("shape")
        types = network.infer_types()
        for value in network.graph.output:
            if static_shape(types.get(value.name)) is None:
                value.type.tensor_type.ClearField("shape")
    return fired
