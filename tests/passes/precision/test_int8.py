"""int8 graphs: in the form that TensorRT takes, calibrated through the contract's preprocessing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgecls.errors import ContractError, DataError, ModelError
from edgecls.passes import optimize_graph
from edgecls.passes.precision import PrecisionOptions, set_precision
from edgecls.passes.precision.images import CalibrationImages
from edgecls.preprocess import decode_image, preprocess
from tests.models import MODELS, random_feed, run_onnxruntime
from tests.passes.precision.networks import constants, parsed, save_images
from tests.passes.precision.test_half import outputs


@pytest.fixture
def images(tmp_path):
    return save_images(tmp_path / "images")


def int8(folder, **more):
    return PrecisionOptions(precision="int8", calibrate=folder, **more)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
@pytest.mark.parametrize("model", ["classifier", "classifier_nhwc"])
def test_answers_stay_close(model, method, images):
    exported = MODELS[model]()
    graph = set_precision(optimize_graph(exported), int8(images, calibration=method))
    onnx.checker.check_model(parsed(graph), full_check=True)
    contract = exported.contract.image_input
    for path in sorted(images.iterdir()):
        feed = {"x": preprocess(decode_image(path, contract), contract)}
        wanted, got = run_onnxruntime(exported, feed)["logits"], outputs(graph, 1, feed)["logits"]
        assert np.abs(got - wanted).max() <= 0.1 * np.ptp(wanted)
    assert graph.passes[-1].name == "int8"
    assert (graph.precision.calibration, graph.precision.calibration_images) == (method, 5)


def test_the_form_is_what_tensorrt_takes(images):
    model = parsed(set_precision(optimize_graph(MODELS["classifier"]()), int8(images)))
    writer = {name: node for node in model.graph.node for name in node.output}
    values = constants(model)
    computing = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(computing) >= 4
    for node in computing:
        image, weight = (writer[name] for name in node.input[:2])
        assert image.op_type == weight.op_type == "DequantizeLinear"
        assert writer[image.input[0]].op_type == "QuantizeLinear"
        quantised = values[weight.input[0]]
        assert quantised.dtype == np.int8 and values[weight.input[1]].shape == (quantised.shape[0],)  # per channel
        if len(node.input) == 3:
            assert values[node.input[2]].dtype == np.float32  # the bias
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert not values[node.input[2]].any()  # symmetric
        if node.op_type == "Relu":  # nothing between a convolution and its activation
            assert writer[node.input[0]].op_type not in ("QuantizeLinear", "DequantizeLinear")


def test_batch_sizes_share_their_scales(images):
    graph = set_precision(optimize_graph(MODELS["classifier"](), [1, 4]), int8(images))
    one, four = (constants(parsed(graph, b)) for b in (1, 4))
    scales = [name for name in one if name.endswith("_scale")]
    assert scales and all(np.array_equal(one[name], four[name]) for name in scales)
    assert outputs(graph, 4, random_feed(MODELS["classifier"](), 4))["logits"].shape == (4, 10)


def test_kept_nodes_are_not_quantised(images):
    graph = set_precision(optimize_graph(MODELS["classifier"]()), int8(images, keep_fp32=("Gemm*",), keep_sensitive=1))
    assert len(graph.precision.kept_fp32) == 2
    for node in parsed(graph).graph.node:
        if node.name in graph.precision.kept_fp32:
            assert constants(parsed(graph))[node.input[1]].dtype == np.float32


def test_every_image_is_used_once_and_the_last_batch_is_filled_up(images):
    contract = MODELS["classifier"]().contract
    seen = []
    feeds = list(CalibrationImages(images, contract).feeds(3, lambda *step: seen.append(step)))
    assert [f["x"].shape for f in feeds] == [(3, 3, 32, 32)] * 2
    image = contract.image_input
    expected = [preprocess(decode_image(path, image), image) for path in sorted(images.iterdir())]
    assert np.array_equal(np.concatenate([f["x"] for f in feeds]), np.concatenate([*expected, expected[0]]))
    assert len(seen) == 5


def test_which_images_they_were_is_recorded(images, tmp_path):
    contract = MODELS["classifier"]().contract
    first = CalibrationImages(images, contract).hash
    assert CalibrationImages(save_images(tmp_path / "same"), contract).hash == first
    (images / "0.png").unlink()
    assert CalibrationImages(images, contract).hash != first


def test_a_folder_without_images_is_refused(tmp_path):
    before = optimize_graph(MODELS["classifier"]())
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    for folder in (tmp_path / "empty", tmp_path / "absent", tmp_path / "empty" / "notes.txt"):
        with pytest.raises(DataError, match=folder.name):
            set_precision(before, int8(folder))


def test_a_bad_image_is_named(images):
    (images / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    with pytest.raises(DataError, match=r"bad\.png"):
        set_precision(optimize_graph(MODELS["classifier"]()), int8(images))


def test_a_network_that_takes_no_image_is_refused(images):
    with pytest.raises(ContractError, match="image input"):
        set_precision(optimize_graph(MODELS["matrix_products"]()), int8(images))


def test_a_network_that_stays_float32_is_not_called_int8(images):
    with pytest.raises(ModelError, match="nothing would compute in int8") as caught:
        set_precision(optimize_graph(MODELS["classifier"]()), int8(images, keep_fp32=("*",)))
    assert "--keep-fp32" in caught.value.hint
