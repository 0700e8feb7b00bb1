"""Validation over a session in memory whose answers are known."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgecls.errors import ContractError, DataError
from edgecls.frozen import decode_json, encode_json
from edgecls.harness import check_images, load_dataset, run_images, validate_accuracy
from edgecls.harness.differences import difference, largest
from edgecls.harness.metrics import average_precision
from edgecls.results import AccuracyResult
from edgecls.types import Gate
from tests.harness.fake_session import FakeSession, contract

LABELS = ("a", "b", "c", "d")


def by_red(table):
    """An answer that looks up the red value of the first pixel."""
    return lambda pixels: table[int(pixels[0, 0, 0])]


def dataset(tmp_path, labels, **options):
    rows = []
    for i, label in enumerate(labels):
        Image.new("RGB", (3, 3), (i, 0, 0)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{label}")
    (tmp_path / "set.csv").write_text("\n".join(["path,label", *rows]))
    return load_dataset(tmp_path / "set.csv", LABELS, **options)


def test_metrics_agreement_flips_and_differences(tmp_path):
    data = dataset(tmp_path, ["a", "0|1", "d"])
    ours = [[9, 1, 2, 3], [5, 6, 2, 3], [5, 7, 6, 3]]
    theirs = [[9, 1, 2, 3], [7, 6, 2, 3], [5, 7, 6, 3.5]]
    reference = FakeSession(by_red(theirs), artifact_hash="b" * 64)
    result = validate_accuracy(FakeSession(by_red(ours)), reference, data, Gate())
    single = result.metrics.single_label
    assert (single.top1, single.top1_correct, single.top5, single.images) == (2 / 3, 2, 1.0, 3)
    assert result.metrics.multi_label is None
    assert result.reference == "b" * 64 and result.artifact == "a" * 64
    assert result.agreement == pytest.approx(2 / 3)
    assert result.max_logit_difference == 2.0
    assert result.relative_logit_difference == pytest.approx(2 / 5)
    [flip] = result.flips
    assert flip.image.endswith("1.png") and flip.label == "a|b"
    assert (flip.reference.index, flip.prediction.index) == (0, 1)
    exp = np.exp(np.array(theirs[1]) - 7)
    assert flip.reference.score == pytest.approx(exp[0] / exp.sum(), rel=1e-6)
    assert result.gate is None
    assert (result.paired.both_correct, result.paired.neither_correct) == (2, 1)
    assert [r.agrees for r in result.images] == [True, False, True]
    assert decode_json(encode_json(result), AccuracyResult) == result


def test_top5_looks_at_five(tmp_path):
    data = dataset(tmp_path, ["0", "1", "2"])
    table = [[0, 1, 2, 3, 4, 5], [1, 0, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]
    session = FakeSession(by_red(table), contract=contract(6))
    result = validate_accuracy(session, None, data, Gate())
    assert [r.correct_top5 for r in result.images] == [False, False, True]
    assert [p.index for p in result.images[0].predictions] == [5, 4, 3, 2, 1]
    assert result.agreement is None and result.reference_metrics is None and result.paired is None


@pytest.mark.parametrize(("batches", "reference_batches"), [((1,), (1,)), ((2, 8), (1,)), ((1,), (4,)), ((3,), (2,))])
def test_every_batch_size_gives_the_same_answer(tmp_path, batches, reference_batches):
    data = dataset(tmp_path, ["a", "b", "c", "d", "a"])
    table = np.random.default_rng(0).normal(size=(5, 4))
    want = validate_accuracy(FakeSession(by_red(table)), FakeSession(by_red(table)), data, Gate())
    got = validate_accuracy(FakeSession(by_red(table), batches=batches),
                            FakeSession(by_red(table), batches=reference_batches), data, Gate())
    assert got == want and got.agreement == 1 and got.max_logit_difference == 0


def test_an_output_that_is_not_finite_is_wrong_and_fails_the_gate(tmp_path):
    data = dataset(tmp_path, ["a", "b"])
    bad = [[9, float("nan"), 2, 3], [0, float("inf"), 0, 0]]
    good = [[9, 1, 2, 3], [0, 9, 0, 0]]
    gate = Gate(min_top1=0.5, min_agreement=0.5, max_relative_logit_difference=1.0)
    result = validate_accuracy(FakeSession(by_red(bad)), FakeSession(by_red(good)), data, gate)
    assert result.metrics.single_label.top1 == 0 and result.agreement == 0 and result.non_finite == 2
    assert result.max_logit_difference is None and result.relative_logit_difference is None
    assert not result.gate.passed and len(result.gate.failures) == 3
    assert any("not finite" in n for n in result.notes)
    assert result.flips == () and all(r.predictions == () for r in result.images), "no answer is not another answer"
    reversed_roles = validate_accuracy(FakeSession(by_red(good)), FakeSession(by_red(bad)), data, Gate())
    assert reversed_roles.flips == () and reversed_roles.non_finite == 0 and reversed_roles.agreement == 0
    assert any("the reference's output is not finite for 2" in n for n in reversed_roles.notes)
    assert decode_json(encode_json(result), AccuracyResult) == result


@pytest.mark.parametrize("key", ["min_top1", "min_agreement", "max_relative_logit_difference"])
@pytest.mark.parametrize("limit", [float("nan"), float("inf")])
def test_a_gate_that_could_never_fail_is_refused(tmp_path, key, limit):
    session = FakeSession(by_red([[1, 0, 0, 0]]))
    with pytest.raises(DataError, match="no finite number"):
        validate_accuracy(session, session, dataset(tmp_path, ["a"]), Gate(**{key: limit}))


@pytest.mark.parametrize(("gate", "passed"), [
    (Gate(min_top1=0.5), True), (Gate(min_top1=0.51), False),
    (Gate(min_agreement=1.0), True), (Gate(max_relative_logit_difference=0.1), True),
    (Gate(max_relative_logit_difference=0.01), False),
])
def test_the_gate(tmp_path, gate, passed):
    data = dataset(tmp_path, ["a", "b"])
    ours, theirs = [[10, 0, 0, 0]] * 2, [[10, 0, 0, 0.5]] * 2
    verdict = validate_accuracy(FakeSession(by_red(ours)), FakeSession(by_red(theirs)), data, gate).gate
    assert (verdict.passed, bool(verdict.failures)) == (passed, not passed)


def test_what_cannot_be_judged_is_refused(tmp_path):
    data = dataset(tmp_path, ["a", "3"])
    table = [[1, 2, 3, 4]] * 2
    session = FakeSession(by_red(table))
    with pytest.raises(DataError, match="need a reference"):
        validate_accuracy(session, None, data, Gate(min_agreement=1.0))
    with pytest.raises(DataError, match="line 3: class 3 does not exist: the network has 3 classes"):
        validate_accuracy(FakeSession(by_red([[1, 2, 3]] * 2)), None, data, Gate())
    with pytest.raises(DataError, match="4 classes, the reference has 3"):
        validate_accuracy(session, FakeSession(by_red([[1, 2, 3]] * 2)), data, Gate())
    with pytest.raises(DataError, match="answers with logits"):
        validate_accuracy(session, FakeSession(by_red(table), contract=contract(role="probabilities")), data, Gate())
    with pytest.raises(ContractError, match="zero-shot"):
        validate_accuracy(FakeSession(by_red(table), contract=contract(task="zero-shot")), None, data, Gate())
    several = contract(task="multi-label", thresholds=(0.5,), names=())
    with pytest.raises(DataError, match="no top-1"):
        validate_accuracy(FakeSession(by_red(table), contract=several), None, data, Gate(min_top1=0.5))
    with pytest.raises(ContractError, match="1 thresholds for 4 classes"):
        validate_accuracy(FakeSession(by_red(table), contract=several), None, data, Gate())
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.png"):
        validate_accuracy(session, None, data, Gate())


def test_several_labels_per_image(tmp_path):
    data = dataset(tmp_path, ["a|b", "", "c"], task="multi-label")
    ours = [[2, 2, -2, -2], [-1, -1, -1, -1], [-3, 3, 1, -3]]
    theirs = [[2, 2, -2, -2], [-1, -1, -1, -1], [-3, -3, 1, -3]]
    several = contract(task="multi-label")
    result = validate_accuracy(FakeSession(by_red(ours), contract=several),
                               FakeSession(by_red(theirs), contract=several), data, Gate())
    multi = result.metrics.multi_label
    assert result.metrics.single_label is None
    assert (multi.exact_match, multi.precision, multi.recall) == (pytest.approx(2 / 3), 3 / 4, 1.0)
    assert multi.f1 == pytest.approx(6 / 7)
    assert multi.macro_f1 == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert multi.mean_average_precision == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert result.agreement == pytest.approx(2 / 3)
    [flip] = result.flips
    assert flip.prediction.index == flip.reference.index == 1
    assert flip.prediction.score > 0.5 > flip.reference.score


def test_thresholds_of_the_contract_decide(tmp_path):
    data = dataset(tmp_path, ["a"], task="multi-label")
    strict = contract(task="multi-label", thresholds=(0.5, 0.9, 0.9, 0.9))
    result = validate_accuracy(FakeSession(by_red([[1, 1, 1, 1]]), contract=strict), None, data, Gate())
    assert [p.index for p in result.images[0].predictions] == [0] and result.images[0].correct


def test_average_precision_is_scikit_learns():
    # the example of sklearn.metrics.average_precision_score
    assert average_precision(np.array([0, 0, 1, 1], bool), np.array([0.1, 0.4, 0.35, 0.8])) == pytest.approx(0.8333333)
    assert average_precision(np.array([1, 0], bool), np.array([0.5, 0.5])) == 0.5


def test_what_decoding_changed_is_told_once(tmp_path):
    data = dataset(tmp_path, ["a", "b"])
    for i in range(2):
        Image.new("CMYK", (3, 3)).save(tmp_path / f"{i}.png".replace("png", "jpg"))
    (tmp_path / "set.csv").write_text("path,label\n0.jpg,a\n1.jpg,b\n")
    data = load_dataset(tmp_path / "set.csv", LABELS)
    result = validate_accuracy(FakeSession(lambda _: [1, 0, 0, 0]), None, data, Gate())
    assert [n for n in result.notes if "CMYK" in n and n.startswith("2 image")]
    assert all("CMYK" in r.note for r in result.images)


def test_run_images(tmp_path):
    dataset(tmp_path, ["a", "b"])
    session = FakeSession(by_red([[1, 3, 2, 0], [0, 0, 0, 0]]), contract=contract(names=("x", "y")))
    result = run_images(session, [tmp_path / "0.png", tmp_path / "1.png"], 3)
    assert [p.index for p in result.images[0].top] == [1, 2, 0]
    assert [p.label for p in result.images[0].top] == ["y", "2", "x"]
    assert [p.index for p in result.images[1].top] == [0, 1, 2]  # equal scores: by index
    assert result.images[1].top[0].score == 0.25
    with pytest.raises(DataError):
        run_images(session, [])


def test_run_says_when_there_is_no_answer(tmp_path):
    dataset(tmp_path, ["a"])
    session = FakeSession(by_red([[1, float("nan"), 2, 0]]))
    answer = run_images(session, [tmp_path / "0.png"]).images[0]
    assert answer.top == () and "not finite" in answer.note


def test_a_bad_image_is_found_before_any_is_run(tmp_path):
    dataset(tmp_path, ["a", "b"])
    check_images(contract(), [tmp_path / "0.png", tmp_path / "1.png"])
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png: is not an image"):
        check_images(contract(), [tmp_path / "0.png", tmp_path / "bad.png"])


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.floats(-1e3, 1e3))
def test_difference_is_numpys(values, shift):
    a = np.array(values)
    b = a + shift * np.linspace(0, 1, len(a))
    got = difference(a, b)
    assert got.absolute == np.max(np.abs(a - b)) and got.reach == np.ptp(b)


def test_a_constant_reference_has_no_relative_difference():
    zero, one = np.zeros(3), np.ones(3)
    assert difference(one, zero).relative is None and difference(zero, zero).relative == 0
    assert largest([1.0, None]) is None and largest([1.0, 2.0]) == 2 and largest([]) is None


def test_a_contract_that_names_an_output_the_network_has_not(tmp_path):
    data = dataset(tmp_path, ["a"])
    session = FakeSession(by_red([[1, 2, 3, 4]]))
    renamed = msgspec.structs.replace(session.contract.outputs[0], name="logits")
    session.contract = msgspec.structs.replace(session.contract, outputs=(renamed,))
    with pytest.raises(ContractError, match="names the output 'logits', the network has scores"):
        validate_accuracy(session, None, data, Gate())
