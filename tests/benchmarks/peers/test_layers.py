"""A call is judged by what it computes, what it must read, and what the machine can do."""

from __future__ import annotations

import pytest

from benchmarks.peers.floors import Rates
from benchmarks.peers.layers import by_family, judge, profile, table
from edgecls.types import KernelTime, Layer

RATES = Rates(lanes=16, flops_per_s=100e9, fed_flops_per_s=100e9, read_bytes_per_s=10e9)


def layer(index, *, flops=0, weights=0, op="Conv", nodes=("n",)):
    return Layer(index=index, batch=1, kernel=f"k{index}", onnx_nodes=nodes, op=op, algorithm="direct", layout="NCHW",
                 precision="float32", weight_bytes=weights, activation_bytes=0, flops=flops)


def test_a_call_is_its_median_and_is_held_against_the_peak():
    call = judge(layer(0, flops=1_000_000), [50_000.0, 20_000.0, 900_000.0], RATES)
    assert (call.us, call.us_min) == (50.0, 20.0)
    assert call.gflops == pytest.approx(20.0)
    assert call.of_peak == pytest.approx(0.2)
    assert call.floor_us == pytest.approx(10.0)
    assert call.lost_us == pytest.approx(40.0)


def test_weights_that_take_longer_to_read_than_to_use_set_the_floor():
    assert judge(layer(0, flops=2_000, weights=1_000_000), [200_000.0], RATES).floor_us == pytest.approx(100.0)


def test_a_call_too_short_for_the_clock_is_no_division_by_zero():
    assert judge(layer(0, flops=10), [0.0], RATES).us == 0.001


def test_runs_of_one_call_are_kept_apart_from_those_of_another():
    class Session:
        rounds = 0

        def profile(self, runs):
            self.rounds += 1
            return [KernelTime(layer=i, kernel=f"k{i}", mean_ns=float(10 * i + self.rounds), runs=runs) for i in (3, 4)]

    session, times = Session(), {}
    profile(session, 2, times)
    profile(session, 2, times)
    assert times == {3: [31.0, 32.0], 4: [41.0, 42.0]}


def test_tables_have_a_row_a_call_and_a_row_a_family():
    calls = [judge(layer(i, flops=1_000_000, op=op, nodes=nodes), [us * 1e3], RATES)
             for i, (op, us, nodes) in enumerate((("Conv", 25, ("a", "b")), ("Gemm", 100, ()), ("Conv", 75, ("c",))))]
    lines = table(calls)
    assert len(lines) == 5
    assert "| 0 | 25.0 | 12.5% | 40.0 | 40% | 10.0 | 15.0 | Conv | direct | NCHW | k0 | a |" in lines
    families = by_family(calls, RATES.flops_per_s)
    assert families[2:] == ["| Conv | direct | 2 | 100.0 | 50.0% | 20.0 | 20% | 80.0 |",
                            "| Gemm | direct | 1 | 100.0 | 50.0% | 10.0 | 10% | 90.0 |"]
