"""Input contracts for the tests of this folder."""

from __future__ import annotations

from typing import Any

from edgecls.contract import InputContract, Resize


def image_input(**changes: Any) -> InputContract:
    """2x2 RGB, resized exactly, values untouched, unless `changes` say otherwise."""
    size = changes.pop("size", (2, 2))
    channels = 1 if changes.get("color") == "L" else 3
    values: dict[str, Any] = {
        "name": "input", "dtype": "float32", "layout": "NCHW", "size": size, "crop": "none", "color": "RGB",
        "resize": Resize(mode="exact", size=size, interpolation="bilinear"), "scale": 1.0,
        "mean": (0.0,) * channels, "std": (1.0,) * channels, "alpha": "drop", "exif": "apply"}
    return InputContract(**(values | changes))
