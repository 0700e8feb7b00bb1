"""What the user may say about an export, and how a size is written."""

from __future__ import annotations

import re

from edgecls.errors import ModelError
from edgecls.frozen import Frozen

PRETRAINED = "pretrained"


class ExportOptions(Frozen):
    """weights: a file, "pretrained" (asks the model zoo), or None (random, from `seed`).

    input_size: (height, width) in pixels. preprocess: a name or a JSON file. labels: a name or a text file.
    """

    weights: str | None = None
    input_size: tuple[int, int] | None = None
    preprocess: str | None = None
    labels: str | None = None
    seed: int = 0


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from "224" or "240x320". Raises ModelError."""
    match = re.fullmatch(r"(\d{1,5})(?:[xX](\d{1,5}))?", text.strip())
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(1 <= n <= 16384 for n in size):
        raise ModelError(f"{text!r} is not an input size", "write it as N or HxW in pixels, for example 224 or 240x320")
    return size
