"""The Python binding as it is used on a board: a copied file, the library beside it, no edgecls installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_model import LABELS, TinyModel

from edgecls.preprocess import preprocess
from edgecls.runtime import binding
from edgecls.runtime.binding import EdgeclsError, Model
from edgecls.runtime.build import build_library
from edgecls.targets import host_arch
from edgecls.toolchain import find_toolchain
from edgecls.types import Artifact, Pixels

TINY = Callable[..., Artifact]


@pytest.fixture(scope="module")
def library() -> Path:
    return build_library(host_arch(), find_toolchain(host_arch()))


@pytest.fixture
def model(tiny_bundle: TINY, library: Path, tmp_path: Path) -> Model:
    return Model(tiny_bundle(host_arch()).path, threads=2, library=library, install=tmp_path / "models")


def test_the_copied_file_needs_numpy_and_the_library_only(tiny_bundle: TINY, library: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    board.mkdir()
    shutil.copy(binding.__file__, board / "classify.py")
    shutil.copy(library, board / "libedgecls.so")
    shutil.copy(tiny_bundle(host_arch()).path, board / "model.ecls")
    (board / "main.py").write_text(textwrap.dedent("""
        import sys
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        from classify import Model
        with Model(sys.argv[1] + "/model.ecls", threads=2, install=sys.argv[1] + "/installed") as model:
            answers = model.classify(np.full((30, 20, 3), 200, np.uint8), top=2)
            print([a.label for a in answers], model.run(np.ones((1, 3, 8, 8), np.float32))["logits"].shape)
        assert not {m for m in sys.modules if m.split(".")[0] in ("edgecls", "msgspec", "PIL", "onnx", "tvm")}
    """))
    done = subprocess.run([sys.executable, "-I", "main.py", str(board)], cwd=board, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("(1, 4)\n")


@pytest.mark.parametrize("batch", [1, 2])
def test_run_gives_what_numpy_computes(model: Model, batch: int) -> None:
    x = np.random.default_rng(3).normal(size=(batch, 3, 8, 8)).astype(np.float32)
    expected = TinyModel().reference(x)
    np.testing.assert_allclose(model.run(x)["logits"], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(model.run({"image": x})["logits"], model.run(x)["logits"])
    assert [(t.name, t.dtype, t.shape) for t in model.inputs] == [("image", "float32", (1, 3, 8, 8))]
    assert model.batches == (1, 2)


def test_classify_is_the_contract_and_softmax(model: Model, tiny_bundle: TINY) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (33, 21, 3), np.uint8)
    tensor = preprocess(Pixels(pixels), tiny_bundle(host_arch()).manifest.contract.image_input)
    logits = TinyModel().reference(tensor)[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    answers = model.classify(pixels, top=3)
    assert [a.class_index for a in answers] == np.argsort(-expected)[:3].tolist()
    assert [a.label for a in answers] == [LABELS[a.class_index] for a in answers]
    np.testing.assert_allclose([a.probability for a in answers], np.sort(expected)[::-1][:3], rtol=1e-4)
    assert len(model.classify(pixels, top=99)) == 4
    assert model.classify(np.asfortranarray(pixels)) == model.classify(pixels)


def test_two_models_in_one_process_do_not_meet(tiny_bundle: TINY, library: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(6).normal(size=(1, 3, 8, 8)).astype(np.float32)
    paths = [tiny_bundle(host_arch()).path, tiny_bundle(host_arch(), seed=1, name="other").path]
    with Model(paths[0], 2, library=library, install=tmp_path) as a, \
            Model(paths[1], 3, library=library, install=tmp_path) as b:
        for _ in range(3):
            np.testing.assert_allclose(a.run(x)["logits"], TinyModel(0).reference(x), rtol=0, atol=1e-5)
            np.testing.assert_allclose(b.run(x)["logits"], TinyModel(1, "other").reference(x), rtol=0, atol=1e-5)


def test_a_folder_is_opened_as_well(tiny_bundle: TINY, library: Path, tmp_path: Path) -> None:
    Model(tiny_bundle(host_arch()).path, library=library, install=tmp_path).close()
    [folder] = [path for path in tmp_path.iterdir() if path.is_dir()]
    with Model(folder, library=library) as model:
        assert model.outputs[0].name == "logits"


@pytest.mark.parametrize(("feed", "reason"), [
    (np.zeros((1, 3, 8, 8)), "float64"),
    (np.zeros((3, 3, 8, 8), np.float32), r"batch sizes \[1, 2\]"),
    ({"wrong": np.zeros((1, 3, 8, 8), np.float32)}, "the model takes"),
    ({}, "the model takes"),
])
def test_a_feed_the_network_does_not_take(model: Model, feed: object, reason: str) -> None:
    with pytest.raises(EdgeclsError, match=reason) as caught:
        model.run(feed)  # type: ignore[arg-type]
    assert caught.value.status == 1


@pytest.mark.parametrize("pixels", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8),
                                    np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 2), np.uint8)])
def test_an_image_the_network_does_not_take(model: Model, pixels: np.ndarray) -> None:
    with pytest.raises(EdgeclsError):
        model.classify(pixels)


def test_mistakes_are_one_clear_error(tiny_bundle: TINY, library: Path, tmp_path: Path) -> None:
    good = tiny_bundle(host_arch()).path
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "flipped.ecls").write_bytes(data)
    (tmp_path / "empty").mkdir()
    for path, status in ((tmp_path / "absent.ecls", 2), (tmp_path / "flipped.ecls", 3), (tmp_path / "empty", None)):
        with pytest.raises(EdgeclsError) as caught:
            Model(path, library=library, install=tmp_path / "models")
        assert str(caught.value)
        assert status in (None, caught.value.status)
    with pytest.raises(EdgeclsError, match="threads"):
        Model(good, 0, library=library)
    with pytest.raises(EdgeclsError, match="cannot be loaded as libedgecls"):
        Model(good, library=tmp_path / "absent.so")
    with pytest.raises(EdgeclsError, match="cannot be loaded as libedgecls"):
        Model(good, library="libm.so.6")
    model = Model(good, library=library, install=tmp_path / "models")
    model.close()
    model.close()
    with pytest.raises(EdgeclsError, match="closed"):
        model.run(np.zeros((1, 3, 8, 8), np.float32))
