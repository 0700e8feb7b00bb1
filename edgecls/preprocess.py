"""The host's implementation of the Contract: image file -> pixels -> tensor, and logits -> probabilities.

libedgecls does the same in C. Both decode nothing twice and both work on 8-bit pixels until the last step, so the
two agree bit for bit: grey and alpha are settled before the resize, the resize is Pillow's 8-bit one, and each
step of (v * scale - mean) / std is rounded to float32.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgecls.contract import InputContract, OutputContract, Resize
from edgecls.errors import ContractError, DataError
from edgecls.read import read_regular
from edgecls.types import Array, Pixels

MAX_PIXELS = 178_956_970  # Pillow's own limit for a decompression bomb; the resized image obeys it as well
_MAX_FILE_BYTES = 512 << 20
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OTHER_IMAGE = "give another image, or save this one again as an 8-bit RGB PNG or JPEG"


def decode_image(path: Path, contract_input: InputContract) -> Pixels:
    """Read an image file as uint8 HWC with 1 (L), 3 (RGB) or 4 (RGBA) channels, upright when the contract says so.

    Alpha is kept here and settled by `preprocess`. Whatever had to change is told in Pixels.note.
    Raises DataError (naming the file) for anything that is not a whole image of a sane size.
    """
    try:
        data = read_regular(path, _MAX_FILE_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}", "give an image file") from None
    if not data:
        raise DataError(f"{path}: is empty (0 bytes)", "copy or download the image again")
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is either harmless or refused below
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels are too many")
                if getattr(image, "n_frames", 1) > 1:
                    notes.append(f"first of {getattr(image, 'n_frames', 1)} frames used")
                image.load()
                orientation = _orientation(image, notes) if contract_input.exif == "apply" else 1
                upright = image if orientation == 1 else image.transpose(_UPRIGHT[orientation])
                pixels = _to_8_bit(upright, image.info, _png_bit_depth(data), notes)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: is not an image of a known format ({', '.join(_FORMATS)})", _OTHER_IMAGE) from None
    except Exception as error:  # decoders raise whatever a broken file makes them trip over
        raise DataError(f"{path}: cannot be decoded: {error or type(error).__name__}", _OTHER_IMAGE) from None
    return Pixels(pixels, "; ".join(notes))


def preprocess(pixels: Pixels, contract_input: InputContract) -> Array:
    """The tensor of one image: float32, (1, C, H, W) or (1, H, W, C) by the contract.

    Raises DataError for alpha that the contract refuses, ContractError when the input is not an image.
    """
    c = contract_input
    if not c.is_image:
        raise ContractError(f"input {c.name!r} does not take an image",
                            "give the preprocessing when exporting: edgecls export ... --preprocess NAME|FILE")
    assert c.resize and c.size and c.mean is not None and c.std is not None and c.scale is not None
    image = _resize(_in_color(pixels, c), c.resize)
    height, width = c.size
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    values = np.asarray(image.crop((left, top, left + width, top + height)), dtype=np.float32)
    values = values.reshape(height, width, c.channels)
    if c.color == "BGR":
        values = values[:, :, ::-1]
    values = (values * np.float32(c.scale) - np.asarray(c.mean, np.float32)) / np.asarray(c.std, np.float32)
    if c.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[np.newaxis])


def probabilities(logits: Array, output: OutputContract) -> Array:
    """Probabilities of what the output holds: float32, the same shape, classes in the last dimension.

    Computed in float64, so that a probability does not depend on the order of a sum.
    Raises ContractError for an output that is no classification.
    """
    if output.role not in ("logits", "probabilities"):
        raise ContractError(f"output {output.name!r} is {output.role}, not a classification",
                            "use the output that the contract marks as logits or probabilities")
    x = np.asarray(logits, np.float64)
    if output.activation == "softmax":
        x = np.exp(x - x.max(axis=-1, keepdims=True))
        x /= x.sum(axis=-1, keepdims=True)
    elif output.activation == "sigmoid":
        x = np.exp(-np.logaddexp(0.0, -x))
    return x.astype(np.float32)


def _png_bit_depth(data: bytes) -> int | None:
    """From the header: Pillow reduces 16-bit colour to 8 without a word."""
    is_png = data[:8] == _PNG_SIGNATURE and data[12:16] == b"IHDR" and len(data) > 24
    return data[24] if is_png else None


def _orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # as for decoders; a damaged EXIF block does not damage the picture
        notes.append("unreadable EXIF ignored")
        return 1
    if orientation not in _UPRIGHT:
        return 1
    notes.append(f"turned upright (EXIF orientation {orientation})")
    return int(orientation)


def _to_8_bit(image: Image.Image, info: dict[str | tuple[int, int], object], png_bits: int | None,
              notes: list[str]) -> Array:
    """uint8 HWC from any mode Pillow decodes to. Raises DataError for 32-bit and floating-point pixels."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and png_bits == 16):
        notes.append("16 bits per channel reduced to 8")
        values = np.asarray(image).astype(np.uint32) >> 8
        return values.astype(np.uint8)[:, :, np.newaxis]
    if mode in ("I", "F"):
        raise DataError(f"has 32-bit pixels (mode {mode}), whose range is unknown", _OTHER_IMAGE)
    if png_bits == 16:
        notes.append("16 bits per channel reduced to 8")
    transparent = "transparency" in info and mode in ("1", "L", "P", "RGB")
    if transparent or mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        converted = image.convert("RGBA")
    elif mode in ("1", "L"):
        converted = image.convert("L")
    else:
        if mode not in ("RGB", "P"):
            notes.append(f"{mode} converted to RGB without its colour profile")
        converted = image.convert("RGB")
    values = np.asarray(converted)
    return values.reshape(image.height, image.width, -1)


def _in_color(pixels: Pixels, c: InputContract) -> Image.Image:
    """L or RGB as the network needs it, before the resize."""
    data = pixels.data
    if data.shape[2] == 4:
        if c.alpha == "refuse":
            raise DataError("the image has an alpha channel, which the contract refuses",
                            "flatten the image, or export with alpha set to \"drop\"")
        data = data[:, :, :3]
    grey = data.shape[2] == 1
    image = Image.fromarray(np.ascontiguousarray(data[:, :, 0] if grey else data))
    return image.convert("L" if c.color == "L" else "RGB")


def _resize(image: Image.Image, resize: Resize) -> Image.Image:
    height, width = resize.size
    if resize.mode == "shortest":
        short, long = sorted(image.size)
        longer = height * long // short
        width, height = (height, longer) if image.width <= image.height else (longer, height)
    if width * height > MAX_PIXELS:
        raise DataError(f"an image of {image.width} x {image.height} would be resized to {width} x {height} pixels",
                        "crop the image to a less extreme shape")
    # One pass at a time, in the order of Pillow 13 and of the device: the first pass rounds, so the order shows, and
    # earlier versions of Pillow always began with the width.
    loss_w, loss_h = image.width - width, image.height - height
    between = (image.width, height) if loss_h > 0 and loss_h > 2 * loss_w else (width, image.height)
    algorithm = _RESAMPLING[resize.interpolation]
    return image.resize(between, algorithm).resize((width, height), algorithm)
