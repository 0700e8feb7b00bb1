"""What edgecls reports: frozen results with stable JSON keys, and the one schema that documents them.

Every result names its `kind`, its `format`, the `edgecls` version that made it and the hash of the `artifact` it speaks
of. Times end in `_ms` and exist only in a LatencyResult; an emulated device gives an InstructionResult, which has none.
A number that does not exist (no reference, output not finite, too few samples) is null, never a stand-in.
"""

from edgecls.results.accuracy import (
    AccuracyResult,
    DatasetFacts,
    DivergenceResult,
    Flip,
    GateVerdict,
    ImageRow,
    Metrics,
    MultiLabelMetrics,
    OutputDifference,
    PairedDifference,
    SingleLabelMetrics,
)
from edgecls.results.answers import (
    CheckResult,
    ExplainResult,
    ImageAnswer,
    RunResult,
)
from edgecls.results.base import (
    RESULT_FORMAT,
    Prediction,
)
from edgecls.results.measurement import (
    Compared,
    Comparison,
    Conditions,
    InstructionResult,
    LatencyResult,
    Limits,
    Measurement,
    NoiseBand,
    Ratio,
)
from edgecls.results.reading import (
    RESULT_TYPES,
    AnyResult,
    parse_result,
    schema,
)
from edgecls.results.report import (
    Named,
    Report,
    Reportable,
)

__all__ = [
    "RESULT_FORMAT",
    "RESULT_TYPES",
    "AccuracyResult",
    "AnyResult",
    "CheckResult",
    "Compared",
    "Comparison",
    "Conditions",
    "DatasetFacts",
    "DivergenceResult",
    "ExplainResult",
    "Flip",
    "GateVerdict",
    "ImageAnswer",
    "ImageRow",
    "InstructionResult",
    "LatencyResult",
    "Limits",
    "Measurement",
    "Metrics",
    "MultiLabelMetrics",
    "Named",
    "NoiseBand",
    "OutputDifference",
    "PairedDifference",
    "Prediction",
    "Ratio",
    "Report",
    "Reportable",
    "RunResult",
    "SingleLabelMetrics",
    "parse_result",
    "schema",
]
