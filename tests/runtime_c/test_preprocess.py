"""Preprocessing in C against Pillow and numpy, bit for bit."""

from __future__ import annotations

import ctypes

import numpy as np
import PIL
import pytest
from PIL import Image

from tests.runtime_c import tiny

INTERPOLATION = {"nearest": (1, Image.Resampling.NEAREST), "bilinear": (2, Image.Resampling.BILINEAR),
                 "bicubic": (3, Image.Resampling.BICUBIC)}
COLOR = {"RGB": 1, "BGR": 2, "L": 3}


class CImage(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint32) for n in
                ("layout", "color", "interpolation", "algorithm", "resize_mode", "crop", "alpha", "resize_height",
                 "resize_width", "height", "width")] + [
        ("scale", ctypes.c_float), ("mean", ctypes.c_float * 3), ("std", ctypes.c_float * 3)]


class CPixels(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("width", ctypes.c_uint32), ("height", ctypes.c_uint32),
                ("channels", ctypes.c_uint32), ("stride", ctypes.c_size_t)]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("resize") / "resize.so"
    names = ("resize.c", "preprocess.c", "status.c")
    tiny.compile_c(("gcc",), path, [tiny.HERE / "resize_api.c", *(tiny.RUNTIME / "src" / n for n in names)],
                   f"-I{tiny.RUNTIME / 'src'}", "-shared", "-fPIC", "-O2",
                   "-fsanitize=undefined", "-fno-sanitize-recover=all")
    return ctypes.CDLL(str(path))


def in_c(library, pixels, *, size, resize, mode="exact", crop="center", interpolation="bilinear", color="RGB",
         layout="NCHW", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, alpha=1, stride=None):
    image = CImage(1 if layout == "NCHW" else 2, COLOR[color], INTERPOLATION[interpolation][0], 1,
                   1 if mode == "shortest" else 2, 1 if crop == "center" else 0, alpha, *resize, *size, scale,
                   (ctypes.c_float * 3)(*mean), (ctypes.c_float * 3)(*std))
    pixels = np.ascontiguousarray(pixels)
    height, width, channels = pixels.shape
    if stride is not None:
        padded = np.full((height, stride), 0xA5, np.uint8)
        padded[:, :width * channels] = pixels.reshape(height, -1)
        pixels = padded
    count = 1 if color == "L" else 3
    out = np.full((count, *size) if layout == "NCHW" else (*size, count), np.nan, np.float32)
    status = library.preprocess(
        ctypes.byref(image), ctypes.byref(CPixels(pixels.ctypes.data, width, height, channels, stride or 0)),
        out.ctypes.data_as(ctypes.c_void_p))
    return status, out


def in_pillow(pixels, *, size, resize, mode="exact", crop="center", interpolation="bilinear", color="RGB",
              layout="NCHW", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3):
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3])
    picture = picture.convert("L" if color == "L" else "RGB")
    height, width = resize
    if mode == "shortest":
        w, h = picture.size
        width, height = (width, int(height * h / w)) if w <= h else (int(width * w / h), height)
    loss_w, loss_h = picture.width - width, picture.height - height
    if PIL.__version__ < "13" and loss_h > 0 and loss_h > 2 * loss_w:  # 13 chooses this order by itself
        picture = picture.resize((picture.width, height), INTERPOLATION[interpolation][1])
    picture = picture.resize((width, height), INTERPOLATION[interpolation][1])
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    array = np.asarray(picture.crop((left, top, left + size[1], top + size[0])))
    array = array.reshape(*size, -1)[..., ::-1 if color == "BGR" else 1].astype(np.float32)
    channels = array.shape[2]
    array = (array * np.float32(scale) - np.array(mean[:channels], np.float32)) / np.array(std[:channels], np.float32)
    return array if layout == "NHWC" else array.transpose(2, 0, 1)


def check(library, pixels, **contract):
    status, got = in_c(library, pixels, **contract)
    assert status == 0
    expected = in_pillow(pixels, **contract)
    assert got.tobytes() == np.ascontiguousarray(expected, np.float32).tobytes(), (pixels.shape, contract)


def side(rng, largest):
    """Sizes of 1 and sizes of every magnitude."""
    return max(1, int(largest ** rng.random()))


@pytest.mark.parametrize("interpolation", INTERPOLATION)
def test_resize_equals_pillow(library, interpolation):
    rng = np.random.default_rng(7)
    for _ in range(400):
        pixels = rng.integers(0, 256, (side(rng, 400), side(rng, 400), rng.choice([1, 3])), dtype=np.uint8)
        size = (side(rng, 300), side(rng, 300))
        check(library, pixels, size=size, resize=size, crop="none", interpolation=interpolation)


@pytest.mark.parametrize("interpolation", INTERPOLATION)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (3000, 2), (224, 224), (225, 223), (8, 9)])
def test_extreme_shapes_equal_pillow(library, interpolation, shape):
    pixels = np.random.default_rng(3).choice(np.array([0, 255], np.uint8), (*shape, 3))  # overshoots on both sides
    check(library, pixels, size=(224, 224), resize=(224, 224), crop="none", interpolation=interpolation)
    check(library, pixels, size=(7, 7), resize=(8, 8), mode="shortest", interpolation=interpolation)


@pytest.mark.parametrize("color", COLOR)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_whole_contracts_equal_pillow_and_numpy(library, color, layout):
    rng = np.random.default_rng(11)
    for _ in range(120):
        pixels = rng.integers(0, 256, (side(rng, 300), side(rng, 300), rng.choice([1, 3, 4])), dtype=np.uint8)
        mode = rng.choice(["shortest", "exact"])
        resize = (side(rng, 120), side(rng, 120))
        resize = (resize[0],) * 2 if mode == "shortest" else resize
        size = (side(rng, resize[0]), side(rng, resize[1]))
        check(library, pixels, size=size, resize=resize, mode=mode, color=color, layout=layout,
              interpolation=rng.choice(list(INTERPOLATION)), scale=np.float32(rng.choice([1, 1 / 255, 1 / 127.5])),
              mean=rng.random(3).astype(np.float32), std=(rng.random(3) + 0.1).astype(np.float32))


def test_rows_may_be_padded(library):
    pixels = np.random.default_rng(5).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    contract = {"size": (8, 8), "resize": (9, 9), "mode": "shortest"}
    assert in_c(library, pixels, stride=64, **contract)[1].tobytes() == in_c(library, pixels, **contract)[1].tobytes()
    assert in_c(library, pixels[:, :, :1], stride=17, **contract)[0] == 0


def test_a_stride_shorter_than_a_row_is_refused(library):
    pixels = np.zeros((2, 8, 3), np.uint8)
    image = CImage(1, 1, 2, 1, 2, 0, 1, 8, 8, 8, 8, 1.0)
    given = CPixels(pixels.ctypes.data, 8, 2, 3, 23)
    out = np.zeros((3, 8, 8), np.float32)
    assert library.preprocess(ctypes.byref(image), ctypes.byref(given), out.ctypes.data_as(ctypes.c_void_p)) == 9


def test_alpha_can_be_refused(library):
    pixels = np.zeros((4, 4, 4), np.uint8)
    assert in_c(library, pixels, size=(2, 2), resize=(2, 2), alpha=2)[0] == 9
    assert in_c(library, pixels[..., :3], size=(2, 2), resize=(2, 2), alpha=2)[0] == 0
