"""Is the network on the device still right? Every image through a session, and through a reference beside it."""

from __future__ import annotations

import math
from collections import Counter

import msgspec
import numpy as np

from edgecls.contract import Contract
from edgecls.errors import ContractError, DataError
from edgecls.frozen import Frozen
from edgecls.harness import metrics
from edgecls.harness.dataset import Dataset, Item
from edgecls.harness.differences import difference, largest
from edgecls.harness.images import answer, check_contract, class_name, prediction, ranking, scores, shown
from edgecls.harness.statistics import paired_difference
from edgecls.interfaces import Progress, Session, silent
from edgecls.preprocess import decode_image
from edgecls.results import (
    AccuracyResult,
    DatasetFacts,
    Flip,
    GateVerdict,
    ImageRow,
    Metrics,
    Prediction,
)
from edgecls.types import Array, Gate

_DEFAULT_THRESHOLD = 0.5


class _Answer(Frozen):
    """What one network says to one image. classes: top-1 (single-label) or all above their threshold.

    An output that is not finite says nothing: it has neither classes nor predictions.
    """

    logits: Array
    probability: Array
    finite: bool
    classes: tuple[int, ...]
    predictions: tuple[Prediction, ...]
    correct: bool
    correct_top5: bool


def validate_accuracy(session: Session, reference: Session | None, dataset: Dataset, gate: Gate,
                      progress: Progress = silent) -> AccuracyResult:
    """Metrics of the contract's task, agreement with the reference, and whether the gate holds.

    Images are decoded here and handed over as pixels: each side preprocesses where its network runs.
    Raises DataError (an image that cannot be read, a label the network does not have, a gate that cannot be judged),
    ContractError and whatever the sessions raise.
    """
    contract = session.contract
    check_contract(contract)
    _check_gate(gate, contract, reference)
    notes = list(dataset.notes)
    if reference is not None:
        check_contract(reference.contract)
        if reference.contract.answer.role != contract.answer.role:
            raise DataError(f"the network answers with {contract.answer.role}, the reference with "
                            f"{reference.contract.answer.role}: they cannot be compared",
                            "give the ONNX file the bundle was compiled from as --reference")
        if reference.contract.image_input != contract.image_input:
            notes.append("the reference preprocesses images in another way; each side keeps to its own contract")
    step = max(min(s.batches) for s in (session, reference) if s is not None)
    ours, theirs = _Tally(contract), _Tally(contract)
    rows: list[ImageRow] = []
    flips: list[Flip] = []
    for start in range(0, len(dataset.items), step):
        progress("validating images", start, len(dataset.items))
        items = dataset.items[start : start + step]
        pixels = [decode_image(i.path, contract.image_input) for i in items]
        logits = answer(session, pixels)
        expected = None if reference is None else answer(reference, pixels)
        if expected is not None and expected.shape != logits.shape:
            raise DataError(f"the network has {logits.shape[1]} classes, the reference has {expected.shape[1]}",
                            "give the ONNX file the bundle was compiled from as --reference")
        for i, item in enumerate(items):
            this = _judge(logits[i], contract, item)
            ours.add(this, item)
            row = _row(item, this, contract, pixels[i].note)
            if expected is not None:
                other = _judge(expected[i], contract, item)
                theirs.add(other, item)
                row = _compared(row, this, other)
                flips += _flips(row, this, other, contract)
            rows.append(row)
    progress("validating images", len(dataset.items), len(dataset.items))
    notes += sorted(f"{n} image(s): {note}" for note, n in Counter(r.note for r in rows if r.note).items())
    non_finite = ours.non_finite
    if non_finite:
        notes.append(f"the output is not finite for {non_finite} image(s): they count as wrong")
    if theirs.non_finite:
        notes.append(f"the reference's output is not finite for {theirs.non_finite} image(s): they count as different")
    compared = reference is not None
    result = AccuracyResult(
        artifact=session.artifact_hash,
        device=session.facts(),
        threads=session.threads,
        dataset=DatasetFacts(path=shown(dataset.path), images=len(rows), available=dataset.available),
        metrics=ours.metrics(),
        reference=reference.artifact_hash if reference is not None else None,
        reference_metrics=theirs.metrics() if compared else None,
        agreement=sum(bool(r.agrees) for r in rows) / len(rows) if compared else None,
        max_logit_difference=largest([r.max_logit_difference for r in rows]),
        relative_logit_difference=largest([r.relative_logit_difference for r in rows]),
        non_finite=non_finite,
        flips=tuple(flips),
        paired=paired_difference(ours.correct, theirs.correct) if compared else None,
        gate=None,
        images=tuple(rows),
        notes=tuple(notes),
    )
    return result if gate == Gate() else _judged(result, gate)


class _Tally:
    """What the metrics need of every image: all probabilities only where they do (multi-label)."""

    def __init__(self, contract: Contract) -> None:
        self.multi_label = contract.task == "multi-label"
        self.correct: list[bool] = []
        self.correct_top5: list[bool] = []
        self.non_finite = 0
        self.truth: list[Array] = []
        self.answered: list[Array] = []
        self.probability: list[Array] = []

    def add(self, this: _Answer, item: Item) -> None:
        self.correct.append(this.correct)
        self.correct_top5.append(this.correct_top5)
        self.non_finite += not this.finite
        if self.multi_label:
            every = np.arange(len(this.logits))
            self.truth.append(np.isin(every, item.accepted))
            self.answered.append(np.isin(every, this.classes))
            self.probability.append(this.probability.astype(np.float32))

    def metrics(self) -> Metrics:
        if self.multi_label:
            stacked = (np.stack(a) for a in (self.truth, self.answered, self.probability))
            return Metrics(multi_label=metrics.multi_label(*stacked))
        return Metrics(single_label=metrics.single_label(self.correct, self.correct_top5))


def _judge(logits: Array, contract: Contract, item: Item) -> _Answer:
    outside = [a for a in item.accepted if a >= len(logits)]
    if outside:
        raise DataError(f"{item.origin}: class {outside[0]} does not exist: the network has {len(logits)} classes",
                        "use a class index below that number")
    finite = bool(np.isfinite(logits).all())
    probability = scores(logits, contract)
    order = [int(i) for i in ranking(logits)]
    if contract.task == "multi-label":
        limits = contract.answer.thresholds or (_DEFAULT_THRESHOLD,) * len(logits)
        if len(limits) != len(logits):
            raise ContractError(f"the contract has {len(limits)} thresholds for {len(logits)} classes",
                                "export the model again with one threshold per class")
        classes = tuple(i for i in order if probability[i] >= limits[i])
        named = classes
        correct = set(classes) == set(item.accepted)
    else:
        classes, named = tuple(order[:1]), tuple(order[:5])
        correct = classes[0] in item.accepted
    return _Answer(logits=logits, probability=probability, finite=finite, classes=classes if finite else (),
                   predictions=tuple(prediction(i, probability, contract) for i in named) if finite else (),
                   correct=finite and correct,
                   correct_top5=finite and any(i in item.accepted for i in order[:5]))


def _row(item: Item, ours: _Answer, contract: Contract, note: str) -> ImageRow:
    return ImageRow(image=shown(item.path), labels=tuple(class_name(a, contract) for a in item.accepted),
                    predictions=ours.predictions, correct=ours.correct,
                    correct_top5=None if contract.task == "multi-label" else ours.correct_top5, note=note)


def _compared(row: ImageRow, ours: _Answer, theirs: _Answer) -> ImageRow:
    apart = difference(ours.logits, theirs.logits)
    return msgspec.structs.replace(
        row, reference=theirs.predictions, max_logit_difference=apart.absolute,
        relative_logit_difference=apart.relative,
        agrees=ours.finite and theirs.finite and set(ours.classes) == set(theirs.classes))


def _flips(row: ImageRow, ours: _Answer, theirs: _Answer, contract: Contract) -> list[Flip]:
    if row.agrees or not (ours.finite and theirs.finite):  # no answer is not another answer
        return []
    if contract.task == "multi-label":
        pairs = [(i, i) for i in sorted(set(ours.classes) ^ set(theirs.classes))]
    else:
        pairs = [(theirs.classes[0], ours.classes[0])]
    return [Flip(image=row.image, label="|".join(row.labels), reference=prediction(b, theirs.probability, contract),
                 prediction=prediction(a, ours.probability, contract)) for b, a in pairs]


def _check_gate(gate: Gate, contract: Contract, reference: Session | None) -> None:
    limits = (gate.min_top1, gate.min_agreement, gate.max_relative_logit_difference)
    if any(limit is not None and not math.isfinite(limit) for limit in limits):
        raise DataError("a condition of the gate is no finite number: it decides nothing", "give a number")
    if gate.min_top1 is not None and contract.task != "single-label":
        raise DataError(f"a {contract.task} network has no top-1 accuracy to ask for", "leave out the top-1 condition")
    needs = gate.min_agreement is not None or gate.max_relative_logit_difference is not None
    if needs and reference is None:
        raise DataError("agreement and logit difference need a reference", "give the ONNX file with --reference")


def _judged(result: AccuracyResult, gate: Gate) -> AccuracyResult:
    failures = []
    single = result.metrics.single_label
    if gate.min_top1 is not None and single is not None and single.top1 < gate.min_top1:
        failures.append(f"top-1 is {single.top1:.4f}, below {gate.min_top1:g}")
    if gate.min_agreement is not None and (result.agreement is None or result.agreement < gate.min_agreement):
        failures.append(f"agreement with the reference is {result.agreement or 0:.4f}, below {gate.min_agreement:g}")
    limit, apart = gate.max_relative_logit_difference, result.relative_logit_difference
    if limit is not None and apart is None:
        failures.append("the logit difference is unknown, because an output is not finite or constant")
    elif limit is not None and apart is not None and apart > limit:
        failures.append(f"the largest logit difference is {apart:.3g} of the logit range, above {limit:g}")
    verdict = GateVerdict(asked=gate, passed=not failures, failures=tuple(failures))
    return msgspec.structs.replace(result, gate=verdict)
