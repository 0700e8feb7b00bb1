"""run, check, explain: what is asked without measuring."""

from __future__ import annotations

from edgecls.frozen import Frozen
from edgecls.results.base import Prediction, Result
from edgecls.types import DeviceFacts, Manifest, Unsupported


class ImageAnswer(Frozen):
    """top: likeliest first; empty when the network's output is not finite.

    note: what decoding had to change ("CMYK converted to RGB"), or why there is no answer, or "".
    """

    image: str
    top: tuple[Prediction, ...]
    note: str = ""


class RunResult(Result, tag_field="kind", tag="run"):
    """`edgecls run`: the likeliest classes of each image."""

    device: DeviceFacts
    threads: int
    images: tuple[ImageAnswer, ...]


class CheckResult(Result, tag_field="kind", tag="check"):
    """`edgecls check`: can `backend` compile every node of `model` for `target`? artifact: hash of the ONNX bytes."""

    model: str
    target: str
    backend: str
    supported: bool
    unsupported: tuple[Unsupported, ...]
    notes: tuple[str, ...] = ()


class ExplainResult(Result, tag_field="kind", tag="explain"):
    """`edgecls explain`: all that a bundle says of itself. evidence: for a GPU whose engine is not built yet, what the
    table of layers is taken from, or why there is none.
    """

    manifest: Manifest
    evidence: str = ""
