"""The usual preprocessings by name, and a user's own as a JSON file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from edgecls.errors import ContractError
from edgecls.frontend.preprocessing import Preprocessing
from edgecls.read import read_regular

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HALF: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

PRESETS: dict[str, Preprocessing] = {
    # torchvision's first weights, and most of what was trained since
    "imagenet": Preprocessing(crop=(224, 224), resize=256, **_IMAGENET),
    # torchvision's IMAGENET1K_V2 weights
    "imagenet-v2": Preprocessing(crop=(224, 224), resize=232, **_IMAGENET),
    # TensorFlow's slim models: crop 87.5 %, values in -1..1
    "inception": Preprocessing(crop=(299, 299), resize=341, **_HALF),
    "efficientnet": Preprocessing(crop=(224, 224), resize=256, interpolation="bicubic", **_IMAGENET),
    "efficientnet-lite": Preprocessing(crop=(224, 224), resize=256, interpolation="bicubic", **_HALF),
    "vit": Preprocessing(crop=(224, 224), resize=248, interpolation="bicubic", **_HALF),
    "swin": Preprocessing(crop=(224, 224), resize=248, interpolation="bicubic", **_IMAGENET),
    "clip": Preprocessing(crop=(224, 224), resize=224, interpolation="bicubic",
                          mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)),
    "caffe": Preprocessing(crop=(224, 224), resize=256, color="BGR", scale=1.0, mean=(103.939, 116.779, 123.68)),
    "cifar10": Preprocessing(resize=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    "mnist": Preprocessing(resize=(28, 28), color="L", mean=(0.1307,), std=(0.3081,)),
    "fashion-mnist": Preprocessing(resize=(28, 28), color="L", mean=(0.2860,), std=(0.3530,)),
    # values in 0..1 and nothing else
    "grayscale-28": Preprocessing(resize=(28, 28), color="L", mean=(0.0,), std=(1.0,)),
    "unit": Preprocessing(resize=(224, 224)),
}
_HINT = f"give one of {', '.join(PRESETS)}, or a JSON file with the keys that `docs/preprocessing.md` lists"
_MAX_BYTES = 1 << 20


def load_preprocessing(name_or_path: str) -> Preprocessing:
    """A preset by name, or what a JSON file says. Raises ContractError naming the file, the key and the allowed."""
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    path = Path(name_or_path)
    try:
        values = msgspec.json.decode(read_regular(path, _MAX_BYTES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ContractError(f"preprocessing {name_or_path!r} cannot be read: {reason}", _HINT) from None
    if not isinstance(values, dict):
        raise ContractError(f"{path}: must be a JSON object", _HINT)
    return parse_preprocessing(values, str(path))


def parse_preprocessing(values: dict[str, Any], origin: str) -> Preprocessing:
    """A Preprocessing from plain JSON values; keys left out take its defaults, with mean 0 and std 1.

    `mean` and `std` may be one number for all channels, `crop` one number for a square, "center" (the network's
    size) or "none". Raises ContractError.
    """
    unknown = sorted(set(values) - set(_PARSERS))
    if unknown:
        raise ContractError(f"{origin}: unknown key {unknown[0]!r}", f"the keys are {', '.join(_PARSERS)}")
    parsed = {}
    for key, value in values.items():
        try:
            parsed[key] = _PARSERS[key](value)
        except ValueError as error:
            raise ContractError(f"{origin}: {key}: {msgspec.json.encode(value).decode()[:80]} is not allowed",
                                f"{key} must be {error}") from None
    channels = 1 if parsed.get("color") == "L" else 3
    for key, default in (("mean", 0.0), ("std", 1.0)):
        numbers = parsed.get(key, (default,))
        parsed[key] = numbers * channels if len(numbers) == 1 else numbers
        if len(parsed[key]) != channels:
            raise ContractError(f"{origin}: {key} has {len(numbers)} values", f"{key} must have one or {channels}")
    resize = parsed.get("resize")
    if isinstance(resize, int) and parsed.get("crop", "center") is None:
        raise ContractError(f"{origin}: resize {resize} keeps the aspect ratio, so without a crop the size is open",
                            f'write "resize": [{resize}, {resize}], or give a crop')
    if isinstance(resize, int):
        parsed.setdefault("crop", "center")
    return Preprocessing(**parsed)


def _choice(key: str) -> Callable[[object], object]:
    annotation = get_type_hints(Preprocessing)[key]
    allowed = [v for a in (annotation, *get_args(annotation)) for v in get_args(a) if isinstance(v, str)]

    def parse(value: object) -> object:
        if value not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return value

    return parse


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a finite number")
    return float(value)


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(_number(v) for v in value) if isinstance(value, list) and value else (_number(value),)


def _divisors(value: object) -> tuple[float, ...]:
    numbers = _numbers(value)
    if 0 in numbers:
        raise ValueError("numbers other than 0")
    return numbers


def _side(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 16384:
        raise ValueError("an integer of 1..16384, or [height, width]")
    return value


def _resize(value: object) -> int | tuple[int, int]:
    if not isinstance(value, list):
        return _side(value)
    if len(value) != 2:
        raise ValueError("an integer of 1..16384, or [height, width]")
    return _side(value[0]), _side(value[1])


def _crop(value: object) -> str | tuple[int, int] | None:
    if value is None or value == "none":
        return None
    if value == "center":
        return "center"
    try:
        crop = _resize(value)
    except ValueError as error:
        raise ValueError(f'{error}, or "center" or "none"') from None
    return crop if isinstance(crop, tuple) else (crop, crop)


_PARSERS: dict[str, Callable[[object], Any]] = {
    "resize": _resize,
    "crop": _crop,
    "interpolation": _choice("interpolation"),
    "algorithm": _choice("algorithm"),
    "color": _choice("color"),
    "scale": _number,
    "mean": _numbers,
    "std": _divisors,
    "layout": _choice("layout"),
    "alpha": _choice("alpha"),
    "exif": _choice("exif"),
}
