"""The model zoos: what is exported is what they hold, with the preprocessing that they publish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecls.errors import ModelError
from edgecls.frontend import ExportOptions, export_source
from edgecls.preprocess import preprocess
from edgecls.types import Pixels
from tests.frontend.networks import run

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("default")]
PHOTO = np.random.default_rng(4).integers(0, 256, (301, 277, 3), dtype=np.uint8)


def check_answer_and_tensor(source: str, model: Any, transform: Any, weights: Path, **options: Any) -> None:
    """Through edgecls, and through the zoo's own transform and network: the same tensor and the same logits."""
    import torch
    torch.save(model.state_dict(), weights)
    graph = export_source(source, ExportOptions(weights=str(weights), **options))
    tensor = preprocess(Pixels(PHOTO), graph.contract.image_input)
    expected = transform(Image.fromarray(PHOTO))[None]
    np.testing.assert_allclose(tensor, expected.numpy(), rtol=0, atol=2e-6)
    with torch.no_grad():
        logits = model(expected).numpy()
    np.testing.assert_allclose(run(graph.onnx, tensor)[0], logits, rtol=0, atol=1e-4 * float(np.ptp(logits)))


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "vit_tiny_patch16_224", "efficientnet_lite0"])
def test_timm(tmp_path: Path, name: str) -> None:
    import timm
    model = timm.create_model(name, pretrained=False).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    check_answer_and_tensor(f"timm:{name}", model, transform, tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "efficientnet_b0"])
def test_torchvision(tmp_path: Path, name: str) -> None:
    import torchvision
    model = torchvision.models.get_model(name, weights=None).eval()
    published = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    check_answer_and_tensor(f"torchvision:{name}", model, published, tmp_path / "w.pth")


def test_another_size_and_number_of_classes(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("ok\ndefect\n")
    for source in ("timm:vit_tiny_patch16_224", "torchvision:shufflenet_v2_x0_5"):
        graph = export_source(source, ExportOptions(input_size=(160, 160), labels=str(tmp_path / "l.txt")))
        assert graph.contract.image_input.size == (160, 160)
        assert graph.contract.answer.labels == ("ok", "defect")
        assert any("random weights" in note for note in graph.notes)


@pytest.mark.parametrize("source", ["timm:resnet_18", "torchvision:resnet_18", "torchvision:fcn_resnet50"])
def test_unknown_names(source: str) -> None:
    with pytest.raises(ModelError, match="has no") as caught:
        export_source(source)
    assert caught.value.hint


def test_safetensors_weights(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from tests.frontend.test_torch_export import HERE, Tiny
    torch.manual_seed(1)
    model = Tiny().eval()
    path = tmp_path / "tiny.safetensors"
    save_file(model.state_dict(), path)
    graph = export_source(f"{HERE}:make_tiny", ExportOptions(preprocess="mnist", weights=str(path)))
    x = np.ones((1, 1, 28, 28), np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(run(graph.onnx, x)[0], model(torch.from_numpy(x)).numpy(), atol=1e-5)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"tiny\.safetensors"):
        export_source(f"{HERE}:make_tiny", ExportOptions(preprocess="mnist", weights=str(path)))


def test_hugging_face_folder(tmp_path: Path) -> None:
    import transformers
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=64, patch_size=16,
        id2label={0: "cat", 1: "dog", 2: "bird"}, label2id={"cat": 0, "dog": 1, "bird": 2})
    network = transformers.ViTForImageClassification(config).eval()
    folder = tmp_path / "vit"
    network.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    graph = export_source(f"hf:{folder}")
    assert graph.contract.answer.labels == ("cat", "dog", "bird")
    image = graph.contract.image_input
    assert image.size == (64, 64) and image.resize and image.resize.mode == "exact" and image.mean == (0.5,) * 3


def test_hugging_face_folder_with_pickled_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="safetensors"):
        export_source(f"hf:{tmp_path}")
    with pytest.raises(ModelError, match=r"config\.json"):
        export_source(f"hf:{tmp_path.parent}")
