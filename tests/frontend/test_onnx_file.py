"""ONNX files from elsewhere: what is taken, what is changed and said, and the contract they end up with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecls.contract import METADATA_KEY
from edgecls.errors import ContractError, EdgeclsError, ModelError
from edgecls.frontend import ExportOptions, load_onnx, parse_size, save_onnx
from tests.frontend.networks import classifier, externalised, run, save

IMAGE = np.random.default_rng(3).standard_normal((2, 3, 8, 8)).astype(np.float32)


def shape_of(graph: Any) -> list[int | str]:
    dims = onnx.load_from_string(graph.onnx).graph.input[0].type.tensor_type.shape.dim
    return [d.dim_param or d.dim_value for d in dims]


def test_a_sound_network_is_taken_as_it_is(tmp_path: Path) -> None:
    model = classifier()
    graph = load_onnx(save(model, tmp_path))
    np.testing.assert_array_equal(run(graph.onnx, IMAGE[:1])[0], run(model.SerializeToString(), IMAGE[:1])[0])
    assert [i.layout for i in graph.contract.inputs] == ["raw"]
    assert graph.contract.answer.role == "logits" and graph.contract.answer.activation == "softmax"
    assert graph.max_difference is None
    assert any("--preprocess" in note for note in graph.notes)
    onnx.checker.check_model(onnx.load_from_string(graph.onnx), full_check=True)


@pytest.mark.parametrize("batch", ["N", "batch_size", 0, -1])
def test_a_dynamic_batch_stays_open_and_is_said(tmp_path: Path, batch: int | str) -> None:
    graph = load_onnx(save(classifier((batch, 3, 8, 8)), tmp_path))
    assert shape_of(graph) == ["batch", 3, 8, 8]
    assert any("batch" in note and "image" in note for note in graph.notes)
    assert run(graph.onnx, IMAGE)[0].shape == (2, 5)


def test_dynamic_height_and_width_are_refused_with_the_option_that_fixes_them(tmp_path: Path) -> None:
    path = save(classifier(("N", 3, "H", "W")), tmp_path)
    with pytest.raises(ModelError, match=r"'image'.*dynamic") as caught:
        load_onnx(path)
    assert "edgecls export ... --input-size N" in caught.value.hint  # check and compile have no such option
    assert shape_of(load_onnx(path, ExportOptions(input_size=(16, 24)))) == ["batch", 3, 16, 24]
    nhwc = save(classifier(("N", "H", "W", 3)), tmp_path)
    assert shape_of(load_onnx(nhwc, ExportOptions(input_size=(16, 24)))) == ["batch", 16, 24, 3]


@pytest.mark.parametrize(("shape", "axis"), [((1, 3, 0, 8), 2), ((1, 3, 8, 0), 3), ((1, 0, 8, 3), 1)])
def test_a_size_of_zero_is_not_called_dynamic(tmp_path: Path, shape: tuple[int, ...], axis: int) -> None:
    path = save(classifier(shape), tmp_path)
    with pytest.raises(ModelError, match=rf"'image': dimension {axis} has size 0\n") as caught:
        load_onnx(path)
    assert "--input-size" in caught.value.hint
    assert 0 not in shape_of(load_onnx(path, ExportOptions(input_size=(8, 8))))


@pytest.mark.parametrize(("weight", "value"), [("conv", np.nan), ("conv", -np.inf), ("dense", np.inf)])
def test_weights_of_a_diverged_training_are_refused(tmp_path: Path, weight: str, value: float) -> None:
    model = classifier()
    tensor = next(t for t in model.graph.initializer if t.name == weight)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[-1] = value
    tensor.CopyFrom(numpy_helper.from_array(values, weight))
    with pytest.raises(ModelError, match=f"weight '{weight}' holds NaN or infinity") as caught:
        load_onnx(save(model, tmp_path))
    assert "checkpoint" in caught.value.hint


def test_masks_may_be_infinite(tmp_path: Path) -> None:
    model = classifier(outputs=("masked",))
    model.graph.node.add(op_type="Add", input=["logits", "mask"], output=["masked"], name="mask_0")
    mask = np.array([0, 0, -np.inf, 0, 0], np.float32)
    model.graph.initializer.append(numpy_helper.from_array(mask, "mask"))
    assert np.isneginf(run(load_onnx(save(model, tmp_path)).onnx, IMAGE[:1])[0]).tolist() == [[0, 0, 1, 0, 0]]


def test_input_size_cannot_change_a_fixed_network(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path)
    assert load_onnx(path, ExportOptions(input_size=(8, 8))).hash == load_onnx(path).hash
    with pytest.raises(ModelError, match="takes 8x8"):
        load_onnx(path, ExportOptions(input_size=(9, 8)))


def test_a_size_that_the_network_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        load_onnx(save(classifier(("N", 3, "H", "W")), tmp_path), ExportOptions(input_size=(2, 2)))


def test_nhwc_networks_get_an_nhwc_contract(tmp_path: Path) -> None:
    graph = load_onnx(save(classifier((1, 8, 10, 3)), tmp_path), ExportOptions(preprocess="inception"))
    assert (graph.contract.image_input.layout, graph.contract.image_input.size) == ("NHWC", (8, 10))


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 22])
def test_other_opsets_are_converted_and_said(tmp_path: Path, opset: int) -> None:
    model = classifier(opset=opset)
    graph = load_onnx(save(model, tmp_path))
    assert onnx.load_from_string(graph.onnx).opset_import[0].version == 18
    assert any(f"opset {opset} to 18" in note for note in graph.notes)
    np.testing.assert_allclose(run(graph.onnx, IMAGE[:1])[0], run(model.SerializeToString(), IMAGE[:1])[0], rtol=1e-6)


@pytest.mark.parametrize("opset", [0, -3, 10_000])
def test_opsets_that_do_not_exist(tmp_path: Path, opset: int) -> None:
    with pytest.raises(ModelError, match="opset"):
        load_onnx(save(classifier(opset=opset), tmp_path))


@pytest.mark.parametrize(("last", "role", "activation"), [
    (None, "logits", "softmax"), ("LogSoftmax", "logits", "softmax"),
    ("Softmax", "probabilities", "none"), ("Sigmoid", "probabilities", "none")])
def test_meaning_of_the_answer(tmp_path: Path, last: str | None, role: str, activation: str) -> None:
    answer = load_onnx(save(classifier(last=last), tmp_path)).contract.answer
    assert (answer.role, answer.activation) == (role, activation)


def test_several_outputs_are_kept(tmp_path: Path) -> None:
    graph = load_onnx(save(classifier(outputs=("features", "logits", "flat")), tmp_path))
    assert [(o.name, o.role) for o in graph.contract.outputs] == [
        ("features", "auxiliary"), ("logits", "logits"), ("flat", "auxiliary")]


def test_networks_without_input_or_output_are_refused(tmp_path: Path) -> None:
    for part in ("input", "output"):
        model = classifier()
        del getattr(model.graph, part)[:]
        if part == "input":
            model.graph.initializer.append(numpy_helper.from_array(IMAGE[:1], "image"))
        with pytest.raises(ModelError, match=f"no {part}"):
            load_onnx(save(model, tmp_path))


def test_weights_listed_as_inputs_are_not_inputs(tmp_path: Path) -> None:
    model = classifier()
    model.graph.input.append(helper.make_tensor_value_info("conv", TensorProto.FLOAT, [4, 3, 3, 3]))
    assert [i.name for i in load_onnx(save(model, tmp_path)).contract.inputs] == ["image"]


def test_a_file_of_the_first_ir_versions_becomes_one_that_runs(tmp_path: Path) -> None:
    model = classifier(opset=7)
    model.ir_version = 3
    model.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in
                             model.graph.initializer)
    graph = load_onnx(save(model, tmp_path))
    onnx.checker.check_model(onnx.load_from_string(graph.onnx))
    np.testing.assert_allclose(run(graph.onnx, IMAGE[:1])[0],
                               run(classifier().SerializeToString(), IMAGE[:1])[0], rtol=1e-5)


@pytest.mark.parametrize("field", ["shape", "type"])
def test_outputs_without_a_shape_or_type_get_one(tmp_path: Path, field: str) -> None:
    model = classifier()
    output = model.graph.output[0]
    if field == "type":
        output.ClearField("type")
    else:
        output.type.tensor_type.ClearField("shape")
    made = onnx.load_from_string(load_onnx(save(model, tmp_path)).onnx).graph.output[0].type.tensor_type
    assert made.elem_type == TensorProto.FLOAT
    assert [d.dim_value for d in made.shape.dim] == [1, 5]


def test_operators_of_other_domains_pass_and_unknown_standard_ones_do_not(tmp_path: Path) -> None:
    model = classifier()
    model.graph.node[1].domain = "com.example"
    with pytest.raises(ModelError, match="domain"):  # an undeclared domain is invalid ONNX
        load_onnx(save(model, tmp_path))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    assert load_onnx(save(model, tmp_path)).contract.answer.name == "logits"
    model.graph.node[1].domain = ""
    model.graph.node[1].op_type = "Relu7"
    with pytest.raises(ModelError, match=r"relu_0.*Relu7"):
        load_onnx(save(model, tmp_path))


def test_float64_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="float64") as caught:
        load_onnx(save(classifier(dtype=np.float64), tmp_path))
    assert "float32" in caught.value.hint


def test_float16_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="FLOAT16"):
        load_onnx(save(classifier(dtype=np.float16), tmp_path))


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x00" * 64, b"<html></html>" * 99, b"\x08\x08"])
def test_what_is_no_onnx_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load_onnx(tmp_path / "model.onnx")


def test_missing_files_folders_and_weights(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.onnx", tmp_path):
        with pytest.raises(ModelError, match="cannot be read"):
            load_onnx(path)
    with pytest.raises(ModelError, match="inside"):
        load_onnx(save(classifier(), tmp_path), ExportOptions(weights="w.pth"))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = classifier().SerializeToString()
    for length in range(0, len(data), 7):
        (tmp_path / "model.onnx").write_bytes(data[:length])
        with pytest.raises(EdgeclsError):
            load_onnx(tmp_path / "model.onnx")


def test_external_data_in_the_models_folder_is_brought_in(tmp_path: Path) -> None:
    path = externalised(tmp_path, "true.data")
    expected = run(classifier().SerializeToString(), IMAGE[:1])[0]
    np.testing.assert_array_equal(run(load_onnx(path).onnx, IMAGE[:1])[0], expected)


@pytest.mark.parametrize("location", [
    "", "/etc/passwd", "../true.data", "a/../../true.data", "..\\true.data", "link.data", "a\0b", "x" * 5000, "loop"])
def test_external_data_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = externalised(folder, location)
    (folder / "true.data").rename(tmp_path / "true.data")
    (folder / "link.data").symlink_to(tmp_path / "true.data")
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(ModelError, match="external data"):
        load_onnx(path)


def test_missing_and_truncated_external_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'gone\.data' is missing"):
        load_onnx(externalised(tmp_path, "gone.data"))
    for entries in ({"length": "99999"}, {"offset": "-4"}, {"offset": "5"}, {"length": "-1"}, {"offset": "x"}):
        with pytest.raises(ModelError, match="conv"):
            load_onnx(externalised(tmp_path, "true.data", **entries))


def test_a_contract_in_the_file_is_kept_unless_overridden(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("a\nb\nc\nd\ne\n")
    options = ExportOptions(preprocess="imagenet", labels=str(tmp_path / "l.txt"))
    first = load_onnx(save(classifier(), tmp_path), options)
    save_onnx(first, tmp_path / "saved.onnx")
    again = load_onnx(tmp_path / "saved.onnx")
    assert again.contract == first.contract and again.hash == first.hash
    other = load_onnx(tmp_path / "saved.onnx", ExportOptions(preprocess="clip"))
    assert other.contract.image_input.mean != first.contract.image_input.mean
    assert other.contract.answer.labels == ("a", "b", "c", "d", "e")


def test_a_contract_that_does_not_belong_to_the_network_is_refused(tmp_path: Path) -> None:
    graph = load_onnx(save(classifier(), tmp_path), ExportOptions(preprocess="imagenet"))
    for before, after in (('"image"', '"other"'), ('"size":[8,8]', '"size":[9,8]'), ('"color":"RGB"', '"color":"L"'),
                          ('"version":1', '"version":2'), ('"scale"', '"skale"'), ('{"inputs"', '"inputs"')):
        model = onnx.load_from_string(graph.onnx)
        entry = next(p for p in model.metadata_props if p.key == METADATA_KEY)
        assert before in entry.value
        entry.value = entry.value.replace(before, after)
        with pytest.raises(ContractError, match="contract"):
            load_onnx(save(model, tmp_path))


def test_labels_must_be_as_many_as_the_classes(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="1000 labels for 5 classes"):
        load_onnx(save(classifier(), tmp_path), ExportOptions(labels="imagenet"))


def test_preprocessing_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="3 channels"):
        load_onnx(save(classifier(), tmp_path), ExportOptions(preprocess="mnist"))


def test_loading_leaves_nothing_of_the_exporter(tmp_path: Path) -> None:
    model = classifier()
    plain = load_onnx(save(model, tmp_path))
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = "File /home/somebody/net.py, line 3"
    model.graph.node[0].metadata_props.add(key="stack_trace", value="File /home/somebody/net.py")
    model.graph.value_info.append(helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["stale", 4, 6, 6]))
    noisy = load_onnx(save(model, tmp_path))
    assert b"somebody" not in noisy.onnx and noisy.hash == plain.hash


@pytest.mark.parametrize(("text", "size"), [("224", (224, 224)), ("240x320", (240, 320)), (" 1X2 ", (1, 2))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "224x", "1x2x3", "-5", "1e3", "99999", "axb", "224,224"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ModelError, match="input size"):
        parse_size(text)


def test_a_network_without_preprocessing_names_the_command_that_adds_it(tmp_path: Path) -> None:
    graph = load_onnx(save(classifier((1, 3, 8, 8)), tmp_path))
    assert any("edgecls export ... --preprocess NAME|FILE" in note for note in graph.notes)
