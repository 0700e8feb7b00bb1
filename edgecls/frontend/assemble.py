"""A clean ONNX graph + what the user and the source say of its meaning -> ExportedGraph with its Contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import onnx

from edgecls.contract import METADATA_KEY, Contract, InputContract, OutputContract, parse_contract
from edgecls.errors import ContractError, ModelError
from edgecls.frontend.labels import load_labels
from edgecls.frontend.onnx_clean import dims, image_layout
from edgecls.frontend.options import ExportOptions
from edgecls.frontend.preprocessing import Preprocessing
from edgecls.frontend.presets import load_preprocessing
from edgecls.frozen import encode_json
from edgecls.types import ExportedGraph

_DTYPES: dict[int, Literal["float32", "uint8", "int8", "int32", "int64"]] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
}
_TRANSPARENT = ("Identity", "Reshape", "Flatten", "Squeeze", "Cast")


def assemble(
    model: onnx.ModelProto,
    options: ExportOptions,
    source: str,
    *,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    max_difference: float | None = None,
) -> ExportedGraph:
    """Write the contract into `model`'s metadata and freeze it.

    `preprocessing` and `labels` are what the source itself knows; options override them. A contract that the file
    already carries stays, except for what options override. Raises ContractError and ModelError.
    """
    told = list(notes)
    try:
        contract = _contract(model, options, source, preprocessing, labels, told)
    except ValueError as error:  # names and labels come from outside; a contract refuses what cannot be shown
        raise ContractError(f"{source}: {error}", "rename it in the network; labels are replaced by: "
                            "edgecls export MODEL --labels FILE") from None
    set_contract(model, contract)
    return ExportedGraph(onnx=model.SerializeToString(deterministic=True), contract=contract, source=source,
                         notes=tuple(told), max_difference=max_difference)


def _contract(model: onnx.ModelProto, options: ExportOptions, source: str, preprocessing: Preprocessing | None,
              labels: Sequence[str] | None, notes: list[str]) -> Contract:
    stored = next((p.value for p in model.metadata_props if p.key == METADATA_KEY), None)
    if stored is None:
        _refuse_bare_index(model, source)
        contract = Contract(inputs=tuple(_raw_input(v, source) for v in model.graph.input), outputs=_outputs(model))
    else:
        contract = parse_contract(stored, source)
        _refuse_foreign(contract, model, source)
    wanted = load_preprocessing(options.preprocess) if options.preprocess else preprocessing
    if wanted:
        contract, scaled = _with_preprocessing(contract, model, wanted)
        notes.extend(scaled)
    elif not any(i.is_image for i in contract.inputs):
        notes.append("no preprocessing is known: the network takes tensors; to run images: "
                     "edgecls export ... --preprocess NAME|FILE")
    names = load_labels(options.labels) if options.labels else labels
    if names:
        contract = _with_labels(contract, model, tuple(names), None if options.labels else notes)
    return contract


def set_contract(model: onnx.ModelProto, contract: Contract) -> None:
    """Replace the contract in the metadata, keys in order."""
    metadata = {p.key: p.value for p in model.metadata_props} | {METADATA_KEY: encode_json(contract).decode()}
    del model.metadata_props[:]
    for key in sorted(metadata):
        model.metadata_props.add(key=key, value=metadata[key])


def _raw_input(value: onnx.ValueInfoProto, source: str) -> InputContract:
    dtype = _DTYPES.get(value.type.tensor_type.elem_type)
    if dtype is None:
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        raise ModelError(f"{source}: input {value.name!r} has the type {kind}",
                         f"edgecls takes networks whose inputs are {', '.join(_DTYPES.values())}")
    return InputContract(name=value.name, dtype=dtype, layout="raw")


def _outputs(model: onnx.ModelProto) -> tuple[OutputContract, ...]:
    """The first float [batch, classes] output is the answer, the others are auxiliary."""
    outputs: list[OutputContract] = []
    answered = False
    for value in model.graph.output:
        is_float = value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        is_answer = is_float and len(dims(value)) == 2 and not answered
        if not is_answer:
            outputs.append(OutputContract(name=value.name, role="auxiliary"))
        elif _producer(model, value.name) in ("Softmax", "Sigmoid"):
            outputs.append(OutputContract(name=value.name, role="probabilities"))
        else:
            outputs.append(OutputContract(name=value.name, role="logits", activation="softmax"))
        answered = answered or is_answer
    return tuple(outputs)


def _refuse_bare_index(model: onnx.ModelProto, source: str) -> None:
    if all(_producer(model, value.name) == "ArgMax" for value in model.graph.output):
        raise ContractError(f"{source}: ends in ArgMax: it gives the number of a class and no scores",
                            "export the network without its ArgMax, so that the scores are its output")


def _producer(model: onnx.ModelProto, name: str) -> str:
    """Operator that computes tensor `name`, looking through those that only move it."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    node = made_by.get(name)
    for _ in range(len(made_by)):
        if node is None or node.op_type not in _TRANSPARENT or not node.input:
            break
        node = made_by.get(node.input[0])
    return node.op_type if node is not None else ""


def _refuse_foreign(contract: Contract, model: onnx.ModelProto, source: str) -> None:
    for kind, said, there in (("inputs", contract.inputs, model.graph.input),
                              ("outputs", contract.outputs, model.graph.output)):
        names = [v.name for v in there]
        if [s.name for s in said] != names:
            raise ContractError(f"{source}: its contract speaks of other {kind} than the network's {', '.join(names)}",
                                "the network was changed after its export: export it again")
    for stated, value in zip(contract.inputs, model.graph.input, strict=True):
        shape = dims(value)
        if not stated.is_image:
            continue
        assert stated.size
        expected = (stated.channels, *stated.size) if stated.layout == "NCHW" else (*stated.size, stated.channels)
        if tuple(shape[1:]) != expected:
            raise ContractError(f"{source}: its contract says {expected} of input {value.name!r}, which is {shape[1:]}",
                                "the network was changed after its export: export it again")
    for output, value in zip(contract.outputs, model.graph.output, strict=True):
        if output.labels:
            _refuse_wrong_count(output.labels, value)


def _with_preprocessing(contract: Contract, model: onnx.ModelProto,
                        wanted: Preprocessing) -> tuple[Contract, list[str]]:
    """Give the one image-like input its meaning."""
    candidates = [i for i, v in enumerate(model.graph.input)
                  if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and image_layout(v)]
    if len(candidates) != 1:
        raise ContractError(f"preprocessing was given, but {len(candidates)} of the network's inputs are float32 "
                            "images (four dimensions, 1 or 3 channels)", "leave --preprocess out, and feed tensors")
    index = candidates[0]
    value = model.graph.input[index]
    shape = dims(value)
    layout: Any = image_layout(value)
    if wanted.layout == "NHWC" and shape[3] in (1, 3):  # [n, 3, 3, 3] could be either
        layout = "NHWC"
    channels, height, width = (shape[i] for i in ((1, 2, 3) if layout == "NCHW" else (3, 1, 2)))
    if channels != wanted.channels:
        raise ContractError(f"input {value.name!r} has {channels} channels, the preprocessing makes {wanted.color}",
                            f"use a preprocessing with color {'L' if channels == 1 else 'RGB or BGR'}")
    assert isinstance(height, int) and isinstance(width, int)
    notes = []
    if wanted.size and wanted.size != (height, width):
        notes.append(f"preprocessing scaled from {wanted.size[0]}x{wanted.size[1]} to {height}x{width} pixels")
    inputs = list(contract.inputs)
    inputs[index] = wanted.for_input(value.name, (height, width), layout)
    return msgspec.structs.replace(contract, inputs=tuple(inputs)), notes


def _with_labels(contract: Contract, model: onnx.ModelProto, labels: tuple[str, ...],
                 optional: list[str] | None) -> Contract:
    """Labels for the answer. `optional`: notes, when the labels are the source's guess and may be left out."""
    answer = contract.answer
    index = contract.outputs.index(answer)
    try:
        _refuse_wrong_count(labels, model.graph.output[index])
    except ContractError as error:
        if optional is None:
            raise
        optional.append(f"labels left out: {error.message}")
        return contract
    outputs = list(contract.outputs)
    outputs[index] = msgspec.structs.replace(answer, labels=labels)
    return msgspec.structs.replace(contract, outputs=tuple(outputs))


def _refuse_wrong_count(labels: tuple[str, ...], output: onnx.ValueInfoProto) -> None:
    classes = dims(output)[-1] if dims(output) else None
    if isinstance(classes, int) and classes != len(labels):
        raise ContractError(f"{len(labels)} labels for {classes} classes of output {output.name!r}",
                            "give --labels a file with one line per class, in the order of the classes")
