"""Preprocessing by name and by file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgecls.errors import ContractError
from edgecls.frontend.presets import PRESETS, load_preprocessing

FULL = {"resize": 256, "crop": 224, "interpolation": "bilinear", "algorithm": "pillow", "color": "RGB",
        "scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "layout": "NCHW"}


def load(folder: Path, values: Any) -> Any:
    (folder / "p.json").write_text(json.dumps(values))
    return load_preprocessing(str(folder / "p.json"))


def test_a_file_with_all_keys_is_the_preset_it_spells_out(tmp_path: Path) -> None:
    written = load(tmp_path, FULL).for_input("input", (224, 224), "NCHW")
    assert written == PRESETS["imagenet"].for_input("input", (224, 224), "NCHW")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(224, 224), (32, 32), (299, 299), (192, 256)])
def test_every_preset_fits_every_size(name: str, size: tuple[int, int]) -> None:
    contract = PRESETS[name].for_input("input", size, "NCHW")
    assert contract.size == size


@pytest.mark.parametrize(("name", "size", "resize"), [
    ("imagenet", 224, 256), ("imagenet", 299, 341), ("efficientnet-lite", 280, 320), ("clip", 336, 336)])
def test_crop_fraction_is_kept(name: str, size: int, resize: int) -> None:
    contract = PRESETS[name].for_input("input", (size, size), "NCHW")
    assert contract.resize and contract.resize.size == (resize, resize) and contract.resize.mode == "shortest"


@pytest.mark.parametrize(("values", "mode", "resize", "crop"), [
    ({}, "exact", (20, 30), "none"),
    ({"resize": [20, 30]}, "exact", (20, 30), "none"),
    ({"resize": [40, 40], "crop": "center"}, "exact", (40, 40), "center"),
    ({"resize": 40}, "shortest", (40, 40), "center"),
    ({"resize": 40, "crop": [20, 30]}, "shortest", (40, 40), "center"),
    ({"resize": 60, "crop": [30, 30]}, "shortest", (60, 60), "center"),
    ({"resize": [20, 30], "crop": None}, "exact", (20, 30), "none"),
])
def test_ways_to_write_resize_and_crop(tmp_path: Path, values: dict[str, Any], mode: str, resize: tuple[int, int],
                                       crop: str) -> None:
    contract = load(tmp_path, values).for_input("input", (20, 30), "NHWC")
    assert (contract.resize.mode, contract.resize.size, contract.crop) == (mode, resize, crop)
    assert contract.layout == "NHWC"


def test_one_number_counts_for_all_channels(tmp_path: Path) -> None:
    assert load(tmp_path, {"mean": 0.5, "std": [0.25]}).mean == (0.5,) * 3
    assert load(tmp_path, {"mean": 0.5, "std": [0.25], "color": "L"}).std == (0.25,)


@pytest.mark.parametrize(("changes", "named"), [
    ({"Mean": 1}, "Mean"), ({"interpolation": "lanczos"}, "bicubic"), ({"algorithm": "opencv"}, "pillow"),
    ({"color": "rgb"}, "BGR"), ({"layout": "HWC"}, "NHWC"), ({"scale": "1/255"}, "number"), ({"scale": True}, "number"),
    ({"mean": [1, 2]}, "3"), ({"std": [0.1, 0, 0.1]}, "0"), ({"std": []}, "number"), ({"resize": 0}, "16384"),
    ({"resize": [1, 2, 3]}, "height"), ({"resize": 2.5}, "integer"), ({"crop": "left"}, "center"),
    ({"resize": 256, "crop": "none"}, "crop"), ({"mean": {"r": 1}}, "number"), ({"layout": ["NCHW"]}, "NCHW"),
])
def test_mistakes_name_the_file_the_key_and_what_is_allowed(tmp_path: Path, changes: dict[str, Any],
                                                            named: str) -> None:
    with pytest.raises(ContractError) as caught:
        load(tmp_path, FULL | changes)
    assert "p.json" in caught.value.message and next(iter(changes)) in caught.value.message
    assert named in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\x00", '{"scale": NaN}', '{"scale": 1e999}'])
def test_what_is_no_json_object(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ContractError, match=r"p\.json"):
        load_preprocessing(str(tmp_path / "p.json"))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ContractError) as caught:
        load_preprocessing("imagnet")
    assert "imagenet" in caught.value.hint and "clip" in caught.value.hint


def test_layout_must_be_the_networks(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="NHWC"):
        load(tmp_path, FULL).for_input("input", (224, 224), "NHWC")
