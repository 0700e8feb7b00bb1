"""A torch network -> ONNX, checked against torch itself on random input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from edgecls.errors import ModelError, first_line
from edgecls.frontend.assemble import assemble
from edgecls.frontend.onnx_clean import BATCH, OPSET, clean, dims
from edgecls.frontend.options import ExportOptions
from edgecls.frontend.preprocessing import Preprocessing
from edgecls.frontend.torch_tools import Trained, quiet, require
from edgecls.interfaces import Progress, silent
from edgecls.oracle import import_onnxruntime
from edgecls.types import Array, ExportedGraph

MAX_RELATIVE_DIFFERENCE = 1e-4


def export_onnx(
    model: Any,
    example_inputs: Sequence[Any],
    *,
    options: ExportOptions | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    source: str = "torch module",
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> ExportedGraph:
    """Export a torch.nn.Module (in eval mode), or a torch.export.ExportedProgram, with its contract.

    example_inputs: tensors, batch first. The batch stays open when the network allows it. The ONNX graph is run by
    ONNX Runtime on random input and refused when it differs from torch by more than 1e-4 of the output's range.
    Raises ModelError, ContractError, MissingExtraError.
    """
    require("torch", "export")
    require("onnxscript", "export")
    told = list(notes)
    progress("exporting to ONNX", 0, 2)
    options = options or ExportOptions()
    proto, difference = _export_verified(model, tuple(example_inputs), source, options, told, progress)
    progress("exporting to ONNX", 2, 2)
    return assemble(proto, options, source, preprocessing=preprocessing, labels=labels,
                    notes=told, max_difference=difference)


def export_trained(trained: Trained, options: ExportOptions, progress: Progress = silent) -> ExportedGraph:
    """`export_onnx` for what a source module has loaded."""
    return export_onnx(trained.model, trained.example, options=options, preprocessing=trained.preprocessing,
                       labels=trained.labels, source=trained.source, notes=trained.notes, progress=progress)


def _export_verified(model: Any, example: tuple[Any, ...], source: str, options: ExportOptions,
                     notes: list[str], progress: Progress) -> tuple[onnx.ModelProto, float]:
    """An open batch is tried first; networks that bake the batch in get a fixed one, and a note."""
    if not hasattr(model, "graph_signature"):  # an ExportedProgram has decided on its batch already
        try:
            return _attempt(model, example, source, options, notes, progress, open_batch=True)
        except ModelError as error:
            notes.append(f"the batch is fixed at 1: the network cannot be exported with an open one ({error.message})")
    return _attempt(model, example, source, options, notes, progress, open_batch=False)


def _attempt(model: Any, example: tuple[Any, ...], source: str, options: ExportOptions, notes: list[str],
             progress: Progress, *, open_batch: bool) -> tuple[onnx.ModelProto, float]:
    torch = require("torch", "export")
    is_program = hasattr(model, "graph_signature")
    runner = model.module() if is_program else model
    sized = example if is_program else tuple(torch.cat([x[:1]] * (2 if open_batch else 1)) for x in example)
    outputs = len(_run(runner, sized, source))
    names = ["input"] if len(example) == 1 else [f"input_{i}" for i in range(len(example))]
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                model, sized, dynamo=True, opset_version=OPSET, external_data=False, verbose=False,
                input_names=names, output_names=["output", *(f"output_{i}" for i in range(1, outputs))],
                dynamic_shapes=tuple({0: torch.export.Dim(BATCH)} for _ in example) if open_batch else None)
        proto: onnx.ModelProto = program.model_proto
    except Exception as error:  # the exporter raises whatever the network's code makes it trip over
        raise ModelError(f"{source}: torch cannot export it to ONNX: {first_line(error)}",
                         "export it yourself and give the .onnx file, or change the operation that is named") from None
    found = clean(proto, source, options.input_size)
    progress("checking against torch", 1, 2)
    batches = (1, 3) if open_batch else (len(sized[0]),)
    difference = max(_difference(proto, runner, sized, batch, source) for batch in batches)
    notes.extend(found)
    return proto, difference


def _difference(proto: onnx.ModelProto, model: Any, example: tuple[Any, ...], batch: int, source: str) -> float:
    """Largest absolute difference between ONNX Runtime and torch. Raises ModelError when it is too large."""
    ort = import_onnxruntime()
    torch = require("torch", "export")
    rng = np.random.default_rng(0)
    inputs = []
    for x, value in zip(example, proto.graph.input, strict=True):
        shape = (batch, *(int(d or 1) for d in dims(value)[1:]))
        random = rng.standard_normal(shape, np.float32) if x.is_floating_point() else np.zeros(shape)
        inputs.append(torch.from_numpy(random).to(x.dtype))
    expected = _run(model, tuple(inputs), source)
    quiet_session = ort.SessionOptions()
    quiet_session.log_severity_level = 4
    try:
        session = ort.InferenceSession(proto.SerializeToString(), quiet_session, providers=["CPUExecutionProvider"])
        feed = {v.name: x.numpy() for v, x in zip(session.get_inputs(), inputs, strict=True)}
        actual: list[Array] = session.run(None, feed)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise ModelError(f"{source}: the exported graph does not run: {first_line(error)}",
                         "export with another version of torch, or report this network") from None
    worst = 0.0
    for a, e in zip(actual, expected, strict=True):
        if a.shape != e.shape:
            raise ModelError(f"{source}: the exported graph gives {a.shape} where torch gives {e.shape}",
                             "export with another version of torch, or report this network")
        difference = float(np.max(np.abs(a.astype(np.float64) - e), initial=0))
        span = float(np.ptp(e)) or 1.0 if e.size else 1.0
        if not difference <= MAX_RELATIVE_DIFFERENCE * span:
            raise ModelError(f"{source}: the exported graph differs from torch by {difference:.3g} of {span:.3g}",
                             "check that the network is in eval mode and has finite weights")
        worst = max(worst, difference)
    return worst


def _run(model: Any, inputs: tuple[Any, ...], source: str) -> list[Array]:
    """The network's output tensors, in order, as torch computes them."""
    torch = require("torch", "export")
    try:
        with quiet(), torch.no_grad():
            leaves = torch.utils._pytree.tree_leaves(model(*inputs))
    except Exception as error:  # the user's own code
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise ModelError(f"{source}: the network does not run on {shapes}: {first_line(error)}",
                         "give the size it takes with --input-size N or HxW") from None
    if not leaves or not all(isinstance(x, torch.Tensor) for x in leaves):
        raise ModelError(f"{source}: the network does not return tensors", "wrap it so that it returns the logits")
    return [x.numpy() for x in leaves]
