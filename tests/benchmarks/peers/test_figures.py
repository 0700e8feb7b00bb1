"""What a row says: work, ratios, noise, and whether to believe it."""

from __future__ import annotations

import math

import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.peers.engines import AGAIN, OURS
from benchmarks.peers.figures import (
    Work,
    engine_figures,
    floors,
    geometric_mean,
    noise_band,
    ratios,
    reasons,
    work,
)
from benchmarks.peers.floors import Rates
from edgecls.types import DeviceFacts


def test_work_counts_convolutions_products_and_float_weights():
    def weights(name, *shape):
        return helper.make_tensor(name, TensorProto.FLOAT, shape, [0.0] * math.prod(shape))

    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"], group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
         helper.make_node("Reshape", ["c", "s"], ["r"]),
         helper.make_node("Gemm", ["r", "g"], ["h"], transB=1),
         helper.make_node("MatMul", ["h", "m"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [weights("w", 6, 2, 3, 3), weights("g", 5, 96), weights("m", 5, 3),
         helper.make_tensor("s", TensorProto.INT64, [2], [1, 96])])
    found = work(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    assert found == Work(multiply_adds=6 * 4 * 4 * (2 * 9) + 5 * 96 + 3 * 5, weight_bytes=4 * (108 + 480 + 15))
    assert onnx.__version__


def test_floors_are_those_of_arithmetic_and_of_reading():
    rates = Rates(lanes=8, flops_per_s=4e9, fed_flops_per_s=4e9, read_bytes_per_s=1e9)
    assert floors(Work(multiply_adds=2_000_000, weight_bytes=500_000), rates) == pytest.approx(
        {"multiply_adds": 1.0, "weights": 0.5})


def engine(*ms, difference=0.0):
    return engine_figures([[int(m * 1e6) for m in ms]], [0], difference)


def test_figures_of_an_engine_are_of_the_rounds_that_count_and_keep_the_samples_of_all():
    found = engine_figures([[3_000_000, 1_000_000], [9_000_000], [2_000_000]], [0, 2], 1e-3)
    assert found == {"p50_ms": 2.0, "min_ms": 1.0, "runs": 3, "difference": 1e-3, "agrees": True,
                     "samples_ns": ["3000000 1000000", "9000000", "2000000"]}


@pytest.mark.parametrize(("difference", "agrees"), [(1e-2, True), (1.1e-2, False), (None, False)])
def test_a_difference_of_a_hundredth_of_the_range_is_wrong(difference, agrees):
    assert engine(1, difference=difference)["agrees"] is agrees


def test_ratios_leave_out_what_is_wrong_or_did_not_run():
    found = ratios({OURS: engine(2, 4, 6), AGAIN: engine(1), "slow": engine(2, 8, 8), "fast": engine(3, 5, 5),
                    "wrong": engine(1, difference=0.5), "absent": {"not_run": "why"}})
    assert found == {"p50": {"slow": 0.5, "fast": 0.8}, "min": {"slow": 1.0, "fast": 2 / 3}, "fastest": "fast",
                     "to_fastest_p50": 0.8, "to_fastest_min": 1.0}


@pytest.mark.parametrize("engines", [{OURS: {"not_run": "why"}, "a": engine(1)}, {OURS: engine(1)}, {}])
def test_no_ratio_without_both_sides(engines):
    assert ratios(engines)["fastest"] is None


def test_the_noise_band_is_how_far_one_bundle_is_from_itself():
    found = noise_band({OURS: engine(2, 4), AGAIN: engine(2.2, 3)})
    assert found == pytest.approx({"p50": 0.1, "min": 0.1})
    assert noise_band({OURS: engine(2), AGAIN: {"not_run": "why"}}) is None


FACTS = DeviceFacts(name="local", machine="x", emulated=False, cores=2, load=99.0)


def judged(ours=None, again=None, threads=1, peaks=(1.0, 1.0), foreign=0.0):
    same = engine(*[1.0] * 30)
    return reasons({OURS: ours or same, AGAIN: again or same}, threads, (FACTS, FACTS), peaks, [0], foreign)


def test_good_conditions_leave_nothing_to_say_whatever_the_load_average():
    assert judged() == []


@pytest.mark.parametrize(("bad", "said"), [
    ({"again": engine(*[1.2] * 30)}, "differ by 20.0%"),
    ({"again": {"not_run": "why"}}, "did not run twice"),
    ({"threads": 3}, "3 threads share 2 cores"),
    ({"peaks": (1.0, 1.2)}, "peak of multiply-adds varied by 20.0%"),
    ({"foreign": 0.5}, "other programs kept 0.50 CPUs busy"),
    ({"ours": engine(*[1.0] * 30, difference=0.5)}, "edgecls is wrong"),
    ({"ours": engine(1.0), "again": engine(1.0)}, "fewer than"),
])
def test_bad_conditions_are_named(bad, said):
    assert any(said in reason for reason in judged(**bad))


def test_the_geometric_mean():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
