"""Image files of every kind, and what is no image: compared with what Pillow's own conversions give."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from edgecls.errors import DataError
from edgecls.preprocess import decode_image, preprocess
from tests.preprocess.contracts import image_input

RNG = np.random.default_rng(1)
COLOURS = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def save(folder: Path, image: Image.Image, name: str = "image.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG by its specification: Pillow cannot write 16-bit colour."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@pytest.mark.parametrize(("mode", "channels"), [
    ("1", 1), ("L", 1), ("LA", 4), ("P", 3), ("RGB", 3), ("RGBA", 4)])
def test_png_modes(tmp_path: Path, mode: str, channels: int) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    pixels = decode_image(save(tmp_path, image), image_input())
    assert pixels.data.shape == (9, 7, channels)
    expected = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    np.testing.assert_array_equal(pixels.data.squeeze(), np.asarray(expected))
    assert pixels.note == ""


def test_palette_with_transparency_keeps_its_alpha(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(COLOURS).convert("P"), transparency=3)
    pixels = decode_image(path, image_input())
    np.testing.assert_array_equal(pixels.data, np.asarray(Image.open(path).convert("RGBA")))
    with pytest.raises(DataError, match="alpha"):
        preprocess(pixels, image_input(alpha="refuse"))


def test_cmyk_is_converted_and_said(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(COLOURS).convert("CMYK"), "image.jpg")
    pixels = decode_image(path, image_input())
    assert "CMYK" in pixels.note
    np.testing.assert_array_equal(pixels.data, np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_reduced_and_said(tmp_path: Path, colour: int, channels: int) -> None:
    values = RNG.integers(0, 1 << 16, (3, 5, channels), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "deep.png").write_bytes(png(5, 3, 16, colour, rows))
    pixels = decode_image(tmp_path / "deep.png", image_input())
    assert "16 bits" in pixels.note
    high = (values >> 8).astype(np.uint8)
    expected = high[:, :, [0, 0, 0, 1]] if channels == 2 else high
    np.testing.assert_array_equal(pixels.data, expected)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(np.ones((4, 4), np.float32)), "image.tiff")
    with pytest.raises(DataError, match="32-bit"):
        decode_image(path, image_input())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(COLOURS), exif=exif)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decode_image(path, image_input()).data, upright)
    np.testing.assert_array_equal(decode_image(path, image_input(exif="ignore")).data, COLOURS)


def test_first_frame_of_an_animation_is_used_and_said(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    path = save(tmp_path, frames[0], "image.gif", save_all=True, append_images=frames[1:])
    pixels = decode_image(path, image_input())
    assert "2 frames" in pixels.note
    assert pixels.data.max() == 10


def test_what_is_no_image_names_the_file(tmp_path: Path) -> None:
    cases = {
        "empty.png": b"",
        "text.jpg": b"not an image\n" * 50,
        "bomb.png": png(60_000, 60_000, 8, 2, b""),
        "no-pixels.png": png(0, 4, 8, 2, b""),
    }
    for kind in ("png", "jpeg"):
        buffer = io.BytesIO()
        Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, kind)
        cases[f"half.{kind}"] = buffer.getvalue()[:len(buffer.getvalue()) // 2]
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    for name in [*cases, "absent.png", "."]:
        with pytest.raises(DataError) as caught:
            decode_image(tmp_path / name, image_input())
        assert str(tmp_path / name) in caught.value.message
        assert caught.value.hint


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]), st.data())
def test_damaged_files_are_read_or_refused(
        tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOURS).save(buffer, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}))
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes(damaged[:data.draw(st.integers(1, len(damaged)))])
    try:
        pixels = decode_image(path, image_input())
    except DataError as error:
        assert str(path) in error.message
    else:
        assert pixels.data.dtype == np.uint8
