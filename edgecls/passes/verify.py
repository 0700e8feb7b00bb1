"""The proof that a rewrite kept the meaning: outputs on random input, before and after."""

from __future__ import annotations

import numpy as np
from onnx import helper

from edgecls.errors import InternalError, ModelError
from edgecls.passes.evaluate import run
from edgecls.passes.network import Network, static_shape
from edgecls.types import Array

TOLERANCE = 1e-4
"""Largest difference a pass may make, relative to the largest magnitude of the output."""


class Verifier:
    """Holds what the un-optimised network answers to seeded random input. Raises ModelError when it cannot run.

    shapes: of the outputs, by name, at this batch size.
    """

    def __init__(self, network: Network, batch: int) -> None:
        self._feed = random_feed(network)
        try:
            self._expected = run(network, self._feed)
        except ModelError as error:
            if batch == 1:
                raise
            raise ModelError(f"at batch {batch}: {error.message}",
                             "a batch size may be frozen into the network: export it again with a dynamic batch "
                             "dimension, or compile with --batch 1") from None
        self.shapes = {name: value.shape for name, value in self._expected.items()}

    def check(self, network: Network, name: str) -> float:
        """Largest absolute difference that the rewrites so far make. Raises InternalError naming pass `name`."""
        hint = "report this with the model, and leave the pass out meanwhile"
        try:
            actual = run(network, self._feed)
        except ModelError as error:
            raise InternalError(f"the pass {name} broke the network: {error.message}", hint) from None
        if list(actual) != list(self._expected):
            raise InternalError(f"the pass {name} changed the outputs {list(self._expected)} to {list(actual)}", hint)
        worst = 0.0
        for output, expected in self._expected.items():
            got = actual[output]
            if got.shape != expected.shape or got.dtype != expected.dtype:
                raise InternalError(f"the pass {name} changed the output {output!r} from {expected.dtype} "
                                    f"{expected.shape} to {got.dtype} {got.shape}", hint)
            difference, magnitude = _difference(got, expected)
            if difference > TOLERANCE * magnitude:
                raise InternalError(f"the pass {name} changes the output {output!r} by {difference:.3g} "
                                    f"of {magnitude:.3g}", hint)
            worst = max(worst, difference)
        return worst


def _difference(got: Array, expected: Array) -> tuple[float, float]:
    """Largest absolute difference, infinite where only one of them is finite; and the largest magnitude expected."""
    a, b = got.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite):
        return float("inf"), 1.0
    a, b = a[finite], b[finite]
    if not a.size:
        return 0.0, 1.0
    return float(np.abs(a - b).max()), float(np.abs(b).max())


def random_feed(network: Network) -> dict[str, Array]:
    """Standard normal floats; small non-negative integers; seeded."""
    random = np.random.default_rng(0)
    feed: dict[str, Array] = {}
    for value in network.inputs:
        shape = static_shape(value.type)
        if shape is None:
            raise ModelError(f"the input {value.name!r} has no fixed shape", "export the network with fixed sizes")
        try:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        except KeyError:
            raise ModelError(f"the input {value.name!r} has no known element type", "export it again") from None
        if dtype.kind == "f":
            feed[value.name] = random.standard_normal(shape, dtype=np.float32).astype(dtype)
        else:
            feed[value.name] = random.integers(0, 2, shape).astype(dtype)
    return feed
