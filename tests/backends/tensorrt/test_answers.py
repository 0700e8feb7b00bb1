"""Whatever a device answers, finishing on it ends in a bundle that can be read, or in one error."""

from __future__ import annotations

import copy
import json
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecls.backends.tensorrt import TensorRTBackend, TensorRTOptions
from edgecls.backends.tensorrt import finish as module
from edgecls.backends.tensorrt.build import facts
from edgecls.bundle import open_bundle
from edgecls.cli.main import run
from edgecls.devices import LocalDevice
from edgecls.errors import DeviceError, EdgeclsError
from edgecls.targets import load_target
from tests.backends.tensorrt.networks import half
from tests.backends.tensorrt.test_finish import T4
from tests.models import MODELS

ROW = {"Name": "a", "LayerType": "x", "Metadata": "[ONNX Layer: Conv_0]", "Weights": {"Type": "Half", "Count": 9},
       "Inputs": [{"Name": "i", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Half NHWC"}],
       "Outputs": [{"Name": "o", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Half NHWC"}]}
BUILT = {"version": "10.7.0", "seconds": 1.0, "network_layers": 3, "network_types": {"half": 3}, "layers": "",
         "memory": {"activation": 9}, "inspector": [{"Layers": [ROW]}], "plan_bytes": 4, "cache_bytes": 0}


class Answering:
    """A Place that gives one prepared answer after another."""

    name, patience_s = "board", None

    def __init__(self, *answers):
        self._answers = list(answers)

    @contextmanager
    def start(self):
        yield BytesIO(), BytesIO(self._answers.pop(0)), lambda: (1, "")


def line(result, blob=b""):
    """json.dumps, since a device can write what no checked encoder does: halves of surrogate pairs, huge numbers."""
    if isinstance(result, dict) and isinstance(result.get("inspector"), list):
        result = {**result, "inspector": [json.dumps(table) for table in result["inspector"]]}
    return json.dumps({"result": result}).encode() + b"\n" + blob


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    return TensorRTBackend().compile(half(MODELS["classifier"]()), load_target("t4"), TensorRTOptions(evidence=False),
                                     tmp_path_factory.mktemp("answers") / "t4.ecls")


@pytest.fixture
def finish(unfinished, monkeypatch, tmp_path):
    """finish(facts, built) -> Artifact."""
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "caches")

    def finish_with(found, built):
        monkeypatch.setattr(module, "Place", lambda device: Answering(line(found), line(built, b"plan")))
        with TemporaryDirectory() as folder:
            made = TensorRTBackend().finish(unfinished, LocalDevice(), Path(folder) / "done.ecls")
            assert run(["explain", str(made.path), "--quiet"]) == 0
            return open_bundle(made.path)

    return finish_with


def test_a_good_answer_finishes(finish):
    (row,) = finish(T4, BUILT).manifest.layers
    assert row.kernel == "a" and row.precision == "fp16" and row.activation_bytes == 2 * 2 * 192


@pytest.mark.parametrize(("change", "of_facts"), [
    ({"gpu": "x"}, True), ({"gpu": ["compute_capability"]}, True), ({"tensorrt": "10"}, True), ({"gpu": {}}, True),
    ({"tensorrt": None}, True), ({"gpu": {**T4["gpu"], "name": "\ud800"}}, True), ({"memory": "no"}, False),
    ({"memory": {"activation": 10**40}}, False), ({"network_layers": -5}, False), ({"version": None}, False),
    ({"plan_bytes": 10**40}, False), ({"seconds": "long"}, False)])
def test_an_impossible_answer_is_one_error(change, of_facts, finish):
    with pytest.raises(DeviceError, match="answers in no known way") as caught:
        finish({**T4, **change} if of_facts else T4, BUILT if of_facts else {**BUILT, **change})
    assert caught.value.hint


def test_an_answer_that_lacks_fields_is_one_error(finish):
    with pytest.raises(DeviceError, match="answers in no known way"):
        finish(T4, {"plan_bytes": 4, "cache_bytes": 0})


@pytest.mark.parametrize("change", [
    {"Name": "\ud800"}, {"LayerType": "\udfff"}, {"TacticName": "\ud800" * 9999}, {"Metadata": "[ONNX Layer: \ud800]"},
    {"Weights": {"Type": "\ud800", "Count": 10**40}}, {"Weights": {"Type": "Half", "Count": -10}},
    {"Outputs": [{"Name": "\ud800", "Dimensions": [2**62, 2**62, 2**62], "Format/Datatype": "Half \ud800"}]},
    {"Outputs": [{"Name": "o", "Dimensions": [2**31 - 1] * 9, "Format/Datatype": "Half"}] * 3}])
def test_an_impossible_row_is_kept_without_what_is_impossible(change, finish):
    (row,) = finish(T4, {**BUILT, "inspector": [{"Layers": [{**ROW, **change}]}]}).manifest.layers
    assert 0 <= row.activation_bytes <= 768 and 0 <= row.weight_bytes <= 18


def test_a_parsers_errors_of_any_form_are_one_error():
    refusal = {"error": {"kind": "parse", "message": "m", "details": [1, "x", {"code": 3}, [], {"node": {"a": 1}}]}}
    with pytest.raises(EdgeclsError, match="cannot compile this network") as caught:
        facts(Answering(json.dumps(refusal).encode() + b"\n"))
    assert [u.reason for u in caught.value.unsupported] == ["3", "refused"]


NUMBERS = st.sampled_from([-1, -10, 10**40, 2**62, 2**31, True, 1.5])
VALUES = st.none() | NUMBERS | st.lists(NUMBERS, max_size=4) | st.text(max_size=9) | st.sampled_from(
    ["\ud800", "\x1b[2J\n", "a" * 5000, "[profile 9]", {}, [], {"Name": "\udfff"}, [[["x"]]], {"Count": 10**40}])


def places(value, path=()):
    """Every way into a nest of dicts and lists."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = changed(value[path[0]], path[1:], new)
    return value


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_answer_breaks_anything(finish, data):
    answers = [T4, BUILT]
    for _ in range(data.draw(st.integers(1, 2))):
        which = data.draw(st.integers(0, 1))
        where = data.draw(st.sampled_from(sorted(places(answers[which]), key=str)))
        answers[which] = changed(answers[which], where, data.draw(VALUES))
    try:
        finish(*answers)
    except EdgeclsError as error:
        assert error.hint


@given(st.recursive(st.none() | st.integers() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["progress", "result", "error", "kind", "message", "details"]),
                                      inner, max_size=4)))
def test_no_line_breaks_the_asking(answer):
    place = Answering(json.dumps(answer).encode() + b"\n")
    with pytest.raises(EdgeclsError):
        facts(place)
