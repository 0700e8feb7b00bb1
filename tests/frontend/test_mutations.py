"""Whatever a file holds, loading it gives a graph that ONNX accepts, or an EdgeclsError; nothing else."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecls.errors import EdgeclsError
from edgecls.frontend import ExportOptions, load_onnx
from tests.frontend.networks import classifier, save

relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load_or_refuse(path: Path) -> None:
    try:
        graph = load_onnx(path)
    except EdgeclsError as error:
        assert error.message and error.hint
    else:
        onnx.checker.check_model(onnx.load_from_string(graph.onnx))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sound")
    return load_onnx(save(classifier(("N", 3, 8, 8)), folder), ExportOptions(preprocess="imagenet")).onnx


@relaxed
@given(st.data())
def test_damaged_bytes(tmp_path: Path, sound: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        kind = data.draw(st.sampled_from(["change", "insert", "remove"]))
        if kind == "change":
            damaged[place] = data.draw(st.integers(0, 255))
        elif kind == "insert":
            damaged[place:place] = data.draw(st.binary(max_size=9))
        elif len(damaged) > 20:
            del damaged[place:place + 9]
    (tmp_path / "m.onnx").write_bytes(damaged)
    load_or_refuse(tmp_path / "m.onnx")


@relaxed
@given(st.data())
def test_sound_protobuf_that_makes_no_sense(tmp_path: Path, sound: bytes, data: st.DataObject) -> None:
    """Fields changed inside valid protobuf reach deeper than damaged bytes do."""
    model = onnx.load_from_string(sound)
    node = data.draw(st.sampled_from(list(model.graph.node)))
    names = [*(t.name for t in model.graph.initializer), *(o for n in model.graph.node for o in n.output), "", "image"]
    change = data.draw(st.sampled_from(["op", "input", "output", "dims", "type", "shape", "attribute", "domain"]))
    if change == "op":
        node.op_type = data.draw(st.sampled_from(["Conv", "Loop", "If", "Reshape", "Cast", "Softmax", "NoSuch", ""]))
    elif change == "input" and node.input:
        node.input[0] = data.draw(st.sampled_from(names))
    elif change == "output":
        node.output[0] = data.draw(st.sampled_from(names))
    elif change == "dims":
        data.draw(st.sampled_from(list(model.graph.initializer))).dims[0] = data.draw(st.integers(-2**63, 2**63 - 1))
    elif change == "type":
        model.graph.input[0].type.tensor_type.elem_type = data.draw(st.integers(-1, 40))
    elif change == "shape":
        dim = data.draw(st.sampled_from(list(model.graph.input[0].type.tensor_type.shape.dim)))
        dim.dim_value = data.draw(st.integers(-2**63, 2**63 - 1))
    elif change == "attribute" and node.attribute:
        node.attribute[0].ClearField("ints")
        node.attribute[0].i = data.draw(st.integers(-2**63, 2**63 - 1))
    else:
        node.domain = data.draw(st.sampled_from(["ai.onnx", "ai.onnx.ml", "com.example", "\0"]))
    load_or_refuse(save(model, tmp_path, "m.onnx"))
