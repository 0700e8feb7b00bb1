"""From pixels to the tensor, and from logits to probabilities: against Pillow, exact arithmetic and the math module."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecls.contract import InputContract, OutputContract, Resize
from edgecls.errors import ContractError, DataError
from edgecls.preprocess import preprocess, probabilities
from edgecls.types import Pixels
from tests.preprocess.contracts import image_input

RNG = np.random.default_rng(2)
PHOTO = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)


def nearest_float32(value: Fraction) -> Fraction:
    """The float32 that is nearest to an exact value, ties to even (no overflow or denormals here)."""
    if value == 0:
        return value
    exponent = math.floor(math.log2(abs(value)))
    exponent += (abs(value) >= Fraction(2) ** (exponent + 1)) - (abs(value) < Fraction(2) ** exponent)
    unit = Fraction(2) ** (exponent - 23)
    return round(value / unit) * unit


@pytest.mark.parametrize(("scale", "mean", "std"), [(1 / 255, 0.485, 0.229), (1 / 255, 0.5, 0.5), (1.0, 103.939, 1.0)])
def test_every_step_is_rounded_to_float32(scale: float, mean: float, std: float) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    contract = image_input(size=(16, 16), color="L", scale=scale, mean=(mean,), std=(std,))
    actual = preprocess(Pixels(values), contract).reshape(-1)
    s, m, d = (nearest_float32(Fraction(x)) for x in (scale, mean, std))
    for v in range(256):
        exact = nearest_float32(nearest_float32(nearest_float32(v * s) - m) / d)
        assert Fraction(float(actual[v])) == exact


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(5, 9), (64, 48)])
def test_resize_is_pillows(interpolation: str, size: tuple[int, int]) -> None:
    contract = image_input(size=size, resize=Resize(mode="exact", size=size, interpolation=interpolation))
    expected = Image.fromarray(PHOTO).resize(size[::-1], Image.Resampling[interpolation.upper()])
    np.testing.assert_array_equal(preprocess(Pixels(PHOTO), contract)[0].transpose(1, 2, 0), np.asarray(expected))


def test_grey_is_made_before_the_resize_and_colour_from_grey_by_copying() -> None:
    grey = Image.fromarray(PHOTO).convert("L")
    contract = image_input(size=(20, 20), color="L")
    np.testing.assert_array_equal(preprocess(Pixels(PHOTO), contract)[0, 0],
                                  np.asarray(grey.resize((20, 20), Image.Resampling.BILINEAR)))
    tensor = preprocess(Pixels(np.asarray(grey)[:, :, None]), image_input(size=(20, 20)))
    assert (tensor[0, 0] == tensor[0, 1]).all() and (tensor[0, 0] == tensor[0, 2]).all()


def test_channel_order_and_layout() -> None:
    mean = (1.0, 2.0, 3.0)
    rgb = preprocess(Pixels(PHOTO), image_input(size=(8, 6)))
    bgr = preprocess(Pixels(PHOTO), image_input(size=(8, 6), color="BGR", mean=mean))
    np.testing.assert_array_equal(bgr, rgb[:, ::-1] - np.reshape(np.float32(mean), (1, 3, 1, 1)))
    nhwc = preprocess(Pixels(PHOTO), image_input(size=(8, 6), layout="NHWC"))
    assert nhwc.shape == (1, 8, 6, 3) and nhwc.flags.c_contiguous and nhwc.dtype == np.float32
    np.testing.assert_array_equal(nhwc.transpose(0, 3, 1, 2), rgb)


@pytest.mark.parametrize(("resized", "cropped", "offset"), [(3, 2, 0), (5, 2, 2), (7, 2, 2), (9, 2, 4), (8, 2, 3)])
def test_crop_offsets_round_halves_to_even(resized: int, cropped: int, offset: int) -> None:
    rows = np.arange(resized, dtype=np.uint8)[:, None, None].repeat(resized, axis=1)
    contract = image_input(size=(cropped, cropped), color="L", crop="center",
                           resize=Resize(mode="exact", size=(resized, resized), interpolation="nearest"))
    assert preprocess(Pixels(rows), contract)[0, 0, 0, 0] == offset


def test_alpha() -> None:
    with_alpha = np.dstack([PHOTO, RNG.integers(0, 256, PHOTO.shape[:2], dtype=np.uint8)])
    opaque = preprocess(Pixels(PHOTO), image_input())
    np.testing.assert_array_equal(preprocess(Pixels(with_alpha), image_input()), opaque)
    with pytest.raises(DataError, match="alpha"):
        preprocess(Pixels(with_alpha), image_input(alpha="refuse"))


def test_extreme_shapes_do_not_explode() -> None:
    contract = image_input(size=(224, 224), crop="center",
                           resize=Resize(mode="shortest", size=(256, 256), interpolation="bilinear"))
    with pytest.raises(DataError, match="resized"):
        preprocess(Pixels(np.zeros((1, 60_000, 3), np.uint8)), contract)


def test_tensors_are_not_images() -> None:
    with pytest.raises(ContractError, match="does not take an image"):
        preprocess(Pixels(PHOTO), InputContract(name="x", dtype="float32", layout="raw"))


@settings(deadline=None)
@given(st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=9))
def test_probabilities(logits: list[float]) -> None:
    x = np.array([logits], np.float32)
    largest = max(logits)
    total = math.fsum(math.exp(v - largest) for v in logits)
    softmax = probabilities(x, OutputContract(name="y", role="logits", activation="softmax"))
    np.testing.assert_allclose(softmax[0], [math.exp(v - largest) / total for v in logits], rtol=1e-6, atol=1e-37)
    sigmoid = probabilities(x, OutputContract(name="y", role="logits", activation="sigmoid"))
    np.testing.assert_allclose(sigmoid[0], [1 / (1 + math.exp(-v)) for v in logits], rtol=1e-6, atol=1e-37)
    assert (probabilities(x, OutputContract(name="y", role="probabilities")) == x).all()
    with pytest.raises(ContractError, match="auxiliary"):
        probabilities(x, OutputContract(name="y", role="auxiliary"))


@pytest.mark.zoo
@settings(deadline=None, max_examples=40)
@given(st.integers(30, 90), st.integers(30, 90), st.integers(20, 64), st.integers(8, 20),
       st.sampled_from(["nearest", "bilinear", "bicubic"]))
def test_agrees_with_torchvision(height: int, width: int, resize: int, crop: int, interpolation: str) -> None:
    from torchvision import transforms
    image = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = transforms.Compose([
        transforms.Resize(resize, transforms.InterpolationMode(interpolation)), transforms.CenterCrop(crop),
        transforms.ToTensor(), transforms.Normalize(mean, std)])(Image.fromarray(image)).numpy()
    contract = image_input(size=(crop, crop), crop="center", scale=1 / 255, mean=mean, std=std,
                           resize=Resize(mode="shortest", size=(resize, resize), interpolation=interpolation))
    # torchvision divides by 255 where the contract multiplies by its inverse: one rounding apart
    np.testing.assert_allclose(preprocess(Pixels(image), contract)[0], expected, rtol=0, atol=1e-6)
