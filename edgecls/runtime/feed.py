"""Between arrays and the bytes of the serve protocol, with every shape and type checked on the way."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np

from edgecls.errors import BundleError, DataError
from edgecls.types import Array, Pixels, TensorSpec

DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool", "float64")
_MAX_BYTES = 1 << 30
_IMAGE = struct.Struct("<III")

Feed = Array | Pixels | Sequence[Pixels]


def check_spec(spec: TensorSpec) -> None:
    """Refuse a manifest's tensor that cannot cross the protocol. Raises BundleError."""
    if spec.dtype not in DTYPES or any(n < 1 for n in spec.shape) or math.prod(spec.shape) * 8 > 8 * _MAX_BYTES:
        raise BundleError(f"tensor {spec.name!r} of type {spec.dtype} and shape {list(spec.shape)} is not possible",
                          "compile the model again with this version of edgecls")


def at_batch(spec: TensorSpec, batch: int, smallest: int) -> TensorSpec:
    """`spec`, given for the smallest batch size, at another one: dimension 0 grows in proportion."""
    if batch == smallest or not spec.shape:
        return spec
    return TensorSpec(name=spec.name, dtype=spec.dtype, shape=(spec.shape[0] * batch // smallest, *spec.shape[1:]))


def spec_bytes(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def tensor_bytes(array: Array, spec: TensorSpec) -> memoryview:
    """The array's bytes, little-endian and C-contiguous. Raises DataError when it is not what `spec` says."""
    if array.dtype.newbyteorder("=") != np.dtype(spec.dtype) or array.shape != spec.shape:
        raise DataError(f"input {spec.name!r} is {array.dtype} {list(array.shape)}, the network takes {spec.dtype} "
                        f"{list(spec.shape)}", "convert or reshape the array")
    little = np.dtype(spec.dtype).newbyteorder("<")
    return np.ascontiguousarray(array, little).reshape(-1).view(np.uint8).data


def read_tensors(data: bytearray, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Consecutive tensors of a reply whose length has been checked; they share its memory."""
    result, offset = {}, 0
    for spec in specs:
        kind = np.dtype(spec.dtype).newbyteorder("<")
        result[spec.name] = np.frombuffer(data, kind, math.prod(spec.shape), offset).reshape(spec.shape)
        offset += spec_bytes(spec)
    return result


def as_array(name: str, value: Feed) -> Array:
    """A feed's tensor. Raises DataError for what numpy cannot make an array of."""
    try:
        return np.asarray(value)
    except ValueError:
        raise DataError(f"input {name!r} is not an array", "give a numpy array, or Pixels") from None


def images_of(value: Feed) -> list[Pixels] | None:
    """The images of a feed's value, or None when it is a tensor. Raises DataError for a mixture or an empty list."""
    if isinstance(value, Pixels):
        return [value]
    if isinstance(value, (list, tuple)) and (not value or any(isinstance(item, Pixels) for item in value)):
        if not value or not all(isinstance(item, Pixels) for item in value):
            raise DataError("a list of images must hold images only, and at least one", "give one Pixels per image")
        return list(value)
    return None


def image_parts(image: Pixels) -> list[bytes | memoryview]:
    """{u32 width, u32 height, u32 channels, pixels}. Raises DataError for an empty image."""
    height, width, channels = image.data.shape
    if not height or not width:
        raise DataError(f"the image is empty: {width} x {height} pixels", "give an image of at least one pixel")
    return [_IMAGE.pack(width, height, channels), image.data.reshape(-1).data]
