"""ONNX Runtime, which is asked what a network should answer. Every import of it goes through here."""

from __future__ import annotations

import os
from typing import Any

from edgecls.errors import MissingExtraError

_FATAL = 4  # what matters to a user comes as an exception


def import_onnxruntime() -> Any:
    """The module, silent and with its telemetry off. Raises MissingExtraError when it is not installed.

    Since 1.31 importing it is enough to write a device id and a data base under ~/.cache/Microsoft, which only this
    variable, set before, keeps it from; disable_telemetry_events() is for a program that had imported it already.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(f"the package 'onnxruntime' cannot be imported: {error}",
                                "run: pip install onnxruntime") from None
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(_FATAL)
    return onnxruntime
