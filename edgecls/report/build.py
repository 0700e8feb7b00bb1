"""Result files -> one Report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgecls.errors import DataError
from edgecls.frozen import content_hash
from edgecls.results import (
    AccuracyResult,
    AnyResult,
    Comparison,
    DivergenceResult,
    InstructionResult,
    LatencyResult,
    Named,
    Report,
    parse_result,
)

_MAX_BYTES = 512 << 20
_GIVE = "give files that `edgecls validate` or `bench` wrote with --json"
_REPORTABLE = (AccuracyResult, LatencyResult, InstructionResult, Comparison, DivergenceResult)


def load_results(paths: Sequence[Path]) -> dict[str, AnyResult]:
    """Read result files; each goes by its file name, or by its path where two have the same name.

    Raises DataError naming the file.
    """
    results: dict[str, AnyResult] = {}
    alike = Counter(p.name for p in paths)
    for path in paths:
        full = str(path)
        name = (path.name if alike[path.name] == 1 else full).encode("utf-8", "replace").decode()
        if name in results:
            raise DataError(f"{full}: is given twice", "name each result once")
        try:
            if not path.is_file():
                raise DataError(f"{full}: no such file", _GIVE)
            if path.stat().st_size > _MAX_BYTES:
                raise DataError(f"{full}: is larger than {_MAX_BYTES >> 20} MB", "give a result file")
            results[name] = parse_result(path.read_bytes(), full)
        except OSError as error:
            raise DataError(f"{full}: cannot be read: {error.strerror or error}", "check the path") from None
    return results


def build_report(results: Mapping[str, AnyResult]) -> Report:
    """Results by name, in the order given; kinds may be mixed.

    Raises DataError naming the file for one that is no measurement, and for two that are the same one.
    """
    if not results:
        raise DataError("there is nothing to report", _GIVE)
    named: list[Named] = []
    seen: dict[str, str] = {}
    for name, result in results.items():
        if not isinstance(result, _REPORTABLE):
            kind = type(result).__struct_config__.tag
            raise DataError(f"{name}: is the result of {kind}, which measures nothing",
                            "give results of validate, bench or compare")
        first = seen.setdefault(content_hash(result), name)
        if first != name:
            raise DataError(f"{name}: holds the same result as {first}", "name each result once")
        named.append(Named(name=name, result=result))
    artifacts = {a for n in named for a in _artifacts(n.result)}
    return Report(results=tuple(named), artifacts=tuple(sorted(artifacts)))


def _artifacts(result: AnyResult) -> list[str]:
    if isinstance(result, Comparison):
        return [e.measurement.artifact for e in result.entries]
    return [] if isinstance(result, Report) else [result.artifact]
