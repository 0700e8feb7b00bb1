"""report: whole results side by side."""

from __future__ import annotations

from edgecls import __version__
from edgecls.frozen import Frozen
from edgecls.results.accuracy import AccuracyResult, DivergenceResult
from edgecls.results.base import RESULT_FORMAT
from edgecls.results.measurement import Comparison, InstructionResult, LatencyResult

Reportable = AccuracyResult | LatencyResult | InstructionResult | Comparison | DivergenceResult


class Named(Frozen):
    """name: of the file it came from."""

    name: str
    result: AccuracyResult | LatencyResult | InstructionResult | Comparison | DivergenceResult


class Report(Frozen, tag_field="kind", tag="report"):
    """`edgecls report -o FILE.json`: whole results side by side, so that every number can be traced."""

    results: tuple[Named, ...]
    artifacts: tuple[str, ...]
    format: int = RESULT_FORMAT
    edgecls: str = __version__
