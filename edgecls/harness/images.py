"""Images in, classes out: feeding a session with pixels and reading its answer by the contract."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecls.contract import Contract
from edgecls.errors import ContractError, DataError, DeviceError
from edgecls.interfaces import Progress, Session, silent
from edgecls.preprocess import decode_image, preprocess, probabilities
from edgecls.results import ImageAnswer, Prediction, RunResult
from edgecls.types import Array, Pixels


def shown(path: Path) -> str:
    """A path as text for results; bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def check_contract(contract: Contract) -> None:
    """Raises ContractError unless one image goes in and a classification comes out."""
    image, _ = contract.image_input, contract.answer
    if contract.task == "zero-shot":
        raise ContractError("zero-shot networks cannot be run on images by this version",
                            "export the network with a classifier head")
    others = [i.name for i in contract.inputs if i.name != image.name]
    if others:
        raise ContractError(f"the network also takes {', '.join(others)}, which an image does not give",
                            "export a network whose only input is the image")


def answer(session: Session, pixels: Sequence[Pixels]) -> Array:
    """What the answering output holds for each image: (len(pixels), classes), its own dtype.

    Runs the session's smallest batch; the last one is filled up by repeating its last image.
    Raises DeviceError when the session returns something of another shape, ContractError when it has no such output.
    """
    name, batch = session.contract.image_input.name, min(session.batches)
    output = session.contract.answer
    rows: list[Array] = []
    for start in range(0, len(pixels), batch):
        group = list(pixels[start : start + batch])
        filled = group + group[-1:] * (batch - len(group))
        outputs = session.run({name: filled[0] if batch == 1 else filled})
        if output.name not in outputs:
            raise ContractError(f"the contract names the output {output.name!r}, the network has {', '.join(outputs)}",
                                "export the model again with this version of edgecls")
        values = np.asarray(outputs[output.name])
        if values.ndim == 0 or values.size == 0 or values.shape[0] != batch:
            raise DeviceError(f"output {output.name!r} has the shape {values.shape} for a batch of {batch}",
                              "compile the model again with this version of edgecls")
        rows.append(values.reshape(batch, -1)[: len(group)])
    return np.concatenate(rows)


def scores(logits: Array, contract: Contract) -> Array:
    """Probabilities of one image's (classes,) output: float64, NaN throughout when the output is not finite."""
    if not np.isfinite(logits).all():
        return np.full(logits.shape, np.nan)
    return probabilities(logits, contract.answer).astype(np.float64)


def ranking(logits: Array) -> Array:
    """Class indices, likeliest first; equal ones in the order of their index; NaN last."""
    return np.argsort(-logits.astype(np.float64), kind="stable")


def prediction(index: int, probability: Array, contract: Contract) -> Prediction:
    return Prediction(index=index, label=class_name(index, contract), score=float(probability[index]))


def class_name(index: int, contract: Contract) -> str:
    """The contract's label, or the index in digits where it has none."""
    labels = contract.answer.labels
    return labels[index] if labels and index < len(labels) else str(index)


def top(logits: Array, contract: Contract, count: int) -> tuple[Prediction, ...]:
    """The `count` likeliest classes of one image's (classes,) output; none when it is not finite."""
    if not np.isfinite(logits).all():
        return ()
    probability = scores(logits, contract)
    return tuple(prediction(int(i), probability, contract) for i in ranking(logits)[:count])


def check_images(contract: Contract, paths: Sequence[Path], progress: Progress = silent) -> None:
    """Can every image be read and prepared? To be asked before a device is opened; nothing is kept.

    Raises DataError naming the first image that cannot, ContractError for a network that does not classify images.
    """
    check_contract(contract)
    for done, path in enumerate(paths):
        progress("checking images", done, len(paths))
        try:
            preprocess(decode_image(path, contract.image_input), contract.image_input)
        except DataError as error:
            told = error.message if str(path) in error.message else f"{path}: {error.message}"
            raise DataError(told, error.hint) from None


def run_images(session: Session, paths: Sequence[Path], count: int = 5, progress: Progress = silent) -> RunResult:
    """The `count` likeliest classes of each image. Raises DataError for an image that cannot be read."""
    if not paths:
        raise DataError("no image was given", "name one or more image files")
    check_contract(session.contract)
    answers = []
    for done, path in enumerate(paths):
        progress("classifying images", done, len(paths))
        pixels = decode_image(path, session.contract.image_input)
        likeliest = top(answer(session, [pixels])[0], session.contract, count)
        notes = [pixels.note] * bool(pixels.note) + ["the network's output is not finite"] * (not likeliest)
        answers.append(ImageAnswer(image=shown(path), top=likeliest, note="; ".join(notes)))
    progress("classifying images", len(paths), len(paths))
    return RunResult(artifact=session.artifact_hash, device=session.facts(), threads=session.threads,
                     images=tuple(answers))
