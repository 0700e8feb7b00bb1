"""Any result from its JSON, and the one schema that documents them all."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from edgecls.errors import DataError
from edgecls.frozen import decode_json
from edgecls.results.accuracy import AccuracyResult, DivergenceResult
from edgecls.results.answers import CheckResult, ExplainResult, RunResult
from edgecls.results.base import RESULT_FORMAT
from edgecls.results.measurement import Comparison, InstructionResult, LatencyResult
from edgecls.results.report import Report, Reportable
from edgecls.types import Manifest

AnyResult = RunResult | CheckResult | ExplainResult | Reportable | Report
RESULT_TYPES: dict[str, type[Any]] = {
    "validate": AccuracyResult,
    "bench": LatencyResult,
    "bench-instructions": InstructionResult,
    "compare": Comparison,
    "divergence": DivergenceResult,
    "run": RunResult,
    "check": CheckResult,
    "explain": ExplainResult,
    "report": Report,
}


class _Header(msgspec.Struct):
    kind: str = ""
    format: int = 0
    edgecls: str = "unknown"


def parse_result(data: bytes, origin: str) -> AnyResult:
    """Any result from its JSON. Raises DataError naming `origin` and what is wrong with it."""
    again = "give a file that an edgecls command wrote with --json"
    try:
        header = decode_json(data, _Header)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{origin}: not a result: {error}", again) from None
    if header.kind not in RESULT_TYPES:
        raise DataError(f"{origin}: its kind is {header.kind!r}; known are {', '.join(RESULT_TYPES)}", again)
    if header.format != RESULT_FORMAT:
        raise DataError(f"{origin}: result format {header.format} of edgecls {header.edgecls}; this version reads "
                        f"{RESULT_FORMAT}", "measure again with this version of edgecls")
    try:
        result: AnyResult = decode_json(data, RESULT_TYPES[header.kind])
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{origin}: not a {header.kind} result: {error}", again) from None
    return result


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of every output. Every key is always present, so every key is required."""
    _, components = msgspec.json.schema_components((*RESULT_TYPES.values(), Manifest), ref_template="#/$defs/{name}")
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])  # Python 3.13 does so by itself
        if "properties" in component:
            component["required"] = sorted(component["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgecls results",
        "description": "Every JSON file that edgecls writes; `kind` tells which. "
                       "Made by `python -m edgecls.results`; do not edit.",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in RESULT_TYPES.values()],
        "$defs": dict(sorted(components.items())),
    }
