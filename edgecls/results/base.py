"""What all results share."""

from __future__ import annotations

from edgecls import __version__
from edgecls.frozen import Frozen

RESULT_FORMAT = 1


class Result(Frozen):
    """How every result starts. artifact: SHA-256 of the bundle, or of the ONNX file where there is no bundle yet."""

    artifact: str
    format: int = RESULT_FORMAT
    edgecls: str = __version__


class Prediction(Frozen):
    """One class. label: its name, or its index in digits. score: probability; null when the output is not finite."""

    index: int
    label: str
    score: float | None
