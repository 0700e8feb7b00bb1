"""Real weights, real photographs: how many answers survive lower precision. All: benchmarks/results/precision.md."""

from __future__ import annotations

import pytest

from benchmarks.models import LITE0
from benchmarks.precision import cifar_pictures, measure
from edgecls.passes.precision import PrecisionOptions


@pytest.mark.parametrize(("precision", "agreeing"), [("fp16", 20), ("int8", 19)])
def test_photographs_keep_their_answer(precision, agreeing, network, tmp_path):
    folder = cifar_pictures(tmp_path) if precision == "int8" else None
    _, result = measure(network(LITE0), PrecisionOptions(precision=precision, calibrate=folder))
    assert result.metrics.single_label.images == 20
    assert round(result.agreement * 20) >= agreeing
    assert len(result.flips) == 20 - round(result.agreement * 20)
