"""Do two sessions compute the same numbers? For networks without real weights, where accuracy means nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecls.errors import DataError
from edgecls.harness.differences import difference, largest
from edgecls.interfaces import Progress, Session, silent
from edgecls.results import DivergenceResult, OutputDifference
from edgecls.types import Array, TensorSpec

SEEDS = (0, 1, 2)
LIMIT = 1e-4


def compare_outputs(session: Session, reference: Session, seeds: Sequence[int] = SEEDS, *, limit: float = LIMIT,
                    progress: Progress = silent) -> DivergenceResult:
    """Run both on the same seeded tensors (see random_inputs) and compare every output of the session.

    limit: largest difference that passes, as a fraction of the reference output's range. Runs the smallest batch both
    have. Raises DataError when the two cannot be compared.
    """
    batches = set(session.batches) & set(reference.batches)
    if not seeds or not batches:
        raise DataError("there is nothing to compare: no seed, or no batch size that both have",
                        "compile with a batch size that the reference takes")
    batch = min(batches)
    missing = {o.name for o in session.outputs} - {o.name for o in reference.outputs}
    if missing:
        raise DataError(f"the reference has no output {', '.join(sorted(missing))}",
                        "give the ONNX file the bundle was compiled from as the reference")
    outputs: list[OutputDifference] = []
    for done, seed in enumerate(seeds):
        progress("comparing outputs", done, len(seeds))
        feed = random_inputs(session.inputs, seed, batch, min(session.batches))
        ours, theirs = session.run(feed), reference.run(feed)
        outputs += [_difference(o.name, seed, ours, theirs) for o in session.outputs]
    progress("comparing outputs", len(seeds), len(seeds))
    relative = largest([o.relative_difference for o in outputs])
    return DivergenceResult(
        artifact=session.artifact_hash, reference=reference.artifact_hash, batch=batch, seeds=tuple(seeds),
        outputs=tuple(outputs), max_difference=largest([o.max_difference for o in outputs]),
        relative_difference=relative, limit=limit,
        passed=relative is not None and relative <= limit,
        notes=("random inputs: numeric parity, not accuracy",))


def random_inputs(specs: Sequence[TensorSpec], seed: int, batch: int, spec_batch: int) -> dict[str, Array]:
    """One tensor per input from numpy's default_rng(seed): floats standard normal, integers 0..127.

    specs have the batch `spec_batch` in front; the tensors have `batch`.
    """
    rng = np.random.default_rng(seed)
    feed: dict[str, Array] = {}
    for spec in specs:
        shape = (batch, *spec.shape[1:]) if spec.shape and spec.shape[0] == spec_batch else spec.shape
        dtype = np.dtype(spec.dtype)
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 128, shape)
        feed[spec.name] = values.astype(dtype)
    return feed


def _difference(name: str, seed: int, ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> OutputDifference:
    a, b = ours[name], theirs[name]
    if a.shape != b.shape:
        raise DataError(f"output {name!r} has the shape {a.shape}, the reference's has {b.shape}",
                        "give the ONNX file the bundle was compiled from as the reference")
    absolute, reach, relative = difference(a, b)
    return OutputDifference(output=name, seed=seed, max_difference=absolute, reference_range=reach,
                            relative_difference=relative)
