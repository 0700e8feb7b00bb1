"""Latency with a clock made of numbers: what is measured, in which order, and what makes it invalid."""

import itertools

import msgspec
import pytest

from edgecls.cli.summary import measurement_lines
from edgecls.errors import DataError, DeviceError, InternalError
from edgecls.frozen import decode_json, encode_json
from edgecls.harness import compare_latency, measure_latency
from edgecls.results import InstructionResult, LatencyResult, Limits
from edgecls.types import MeasureSettings, Samples
from tests.harness.fake_session import EMULATED, FACTS, FakeSession

SETTINGS = MeasureSettings(runs=50)
MS = 1_000_000
replace = msgspec.structs.replace


def steady(ms=10):
    """10.00 to 10.09 ms, over and over."""
    return (round(ms * MS * (1 + i % 10 / 1000)) for i in itertools.count())


def test_a_quiet_device_gives_a_valid_result():
    session = FakeSession(clock=steady(), threads=2)
    result = measure_latency(session, SETTINGS, tools={"cc": "gcc 12"}, affinity=[0, 1])
    assert isinstance(result, LatencyResult)
    assert result.valid and result.reasons == () and result.notes == ()
    assert len(result.samples_ms) == 100 and [len(r) for r in result.repeats_ms] == [50, 50]
    assert (result.min_ms, result.p50_ms, result.p90_ms, result.p99_ms) == (10.0, 10.04, 10.08, 10.09)
    assert result.mean_ms == pytest.approx(10.045)
    assert result.conditions.settings == replace(SETTINGS, threads=2)
    assert result.conditions.tools == {"cc": "gcc 12"} and result.conditions.affinity == (0, 1)
    assert decode_json(encode_json(result), LatencyResult) == result


def test_repeats_take_turns_and_each_block_has_its_warm_up():
    session = FakeSession(clock=itertools.count(MS))
    result = measure_latency(session, MeasureSettings(runs=11, warmup=3, repeats=2))
    assert [(m.runs, m.warmup, m.repeats) for m in session.measured] == [(3, 3, 1)] * 2 + [(2, 3, 1)] * 8
    order = [repeat for repeat, _ in itertools.groupby(result.sample_repeat)]
    assert order == [0, 1, 0, 1, 0, 1]  # blocks 0 1 | 1 0 | 0 1 | 1 0 | 0 1
    assert result.samples_ms == tuple(sorted(result.samples_ms))


@pytest.mark.parametrize(("before", "after", "reason"), [
    ({"governor": "ondemand"}, {"governor": "ondemand"}, "governor is 'ondemand'"),
    ({}, {"governor": "powersave"}, "governor is 'powersave'"),
    ({}, {"clocks_mhz": (1500.0, 1400.0, 1400.0, 1400.0)}, None),
    ({}, {"clocks_mhz": (1000.0,) * 4}, "clock went from 1500 to 1000 MHz"),
    ({}, {"temperature_c": 50.0}, None),
    ({}, {"temperature_c": 50.5}, "warmed by 10.5"),
    ({"load": 1.0}, {"load": 3.0}, None),
    ({"load": 1.1}, {}, "load was 1.10 on 4 cores"),
    ({"cores": 1, "load": 0.0}, {}, "2 threads share 1 cores"),
])
def test_each_condition_of_the_device(before, after, reason):
    facts = [replace(FACTS, **before), replace(FACTS, **after)]
    result = measure_latency(FakeSession(clock=steady(), facts=facts, threads=2), SETTINGS)
    if reason is None:
        assert result.valid, result.reasons
    else:
        assert not result.valid and len(result.reasons) == 1 and reason in result.reasons[0]


def test_unknown_conditions_are_noted_and_few_samples_have_no_tail():
    unknown = replace(FACTS, governor=None, clocks_mhz=None, temperature_c=None, load=None)
    result = measure_latency(FakeSession(clock=steady(), facts=[unknown]), MeasureSettings(runs=10))
    assert result.valid and result.p90_ms == 10.08 and result.p99_ms is None
    assert result.notes == ("could not be read on the device: governor, clocks, temperature, load",
                            "p99 needs 100 samples, there are 20")


def test_drift_noise_and_too_few_samples_are_reasons():
    slowing = FakeSession(clock=(MS * (100 + i) for i in itertools.count()))
    assert any("slower" in r for r in measure_latency(slowing, SETTINGS).reasons)
    few = measure_latency(FakeSession(clock=steady()), MeasureSettings(runs=5))
    assert few.reasons == ("10 samples are fewer than 20",)
    blocks = [MS, 2 * MS, 2 * MS, MS, MS, 2 * MS, 2 * MS, MS, MS, 2 * MS]  # repeat 1 is always twice as slow
    noisy = measure_latency(FakeSession(clock=(b for b in blocks for _ in range(10))), SETTINGS)
    assert noisy.noise_band.median == 1.0 and noisy.noise_band.minimum == 1.0
    assert any("differ by 100.0%" in r for r in noisy.reasons)
    zero = measure_latency(FakeSession(clock=itertools.repeat(0)), SETTINGS)
    assert zero.reasons == ("the device's timer is too coarse: a sample is 0",)


def test_limits_can_be_chosen_and_are_recorded():
    facts = [replace(FACTS, governor="schedutil")]
    result = measure_latency(FakeSession(clock=steady(), facts=facts), SETTINGS, limits=Limits(governor="schedutil"))
    assert result.valid and result.conditions.limits.governor == "schedutil"


def test_an_emulator_counts_instructions_and_has_no_time_anywhere():
    session = FakeSession(clock=[1_000_000, 1_000_004], emulated=True)
    result = measure_latency(session, SETTINGS)
    assert isinstance(result, InstructionResult) and result.valid
    assert result.instructions_per_inference == 1_000_000 and result.samples_instructions == (1_000_000, 1_000_004)
    assert b"_ms\"" not in encode_json(result)
    shaky = measure_latency(FakeSession(clock=[1_000_000, 1_001_000], emulated=True), SETTINGS)
    assert not shaky.valid and "differ by" in shaky.reasons[0]


def test_a_time_from_an_emulator_is_refused_wherever_it_comes_from(monkeypatch):
    times = Samples(kind="time_ns", values=(1,) * 10)
    emulated = FakeSession(emulated=True)
    monkeypatch.setattr(emulated, "measure", lambda _: times)
    with pytest.raises(InternalError):
        measure_latency(emulated, SETTINGS)
    with pytest.raises(InternalError):
        measure_latency(FakeSession(clock=steady(), facts=[EMULATED]), SETTINGS)
    result = measure_latency(FakeSession(clock=steady()), SETTINGS)
    with pytest.raises(ValueError, match="not a time"):
        replace(result, conditions=replace(result.conditions, after=EMULATED))


def test_settings_and_answers_that_make_no_sense(monkeypatch):
    session = FakeSession(clock=steady(), batches=(1, 8))
    for wrong in (MeasureSettings(runs=0), MeasureSettings(warmup=-1), MeasureSettings(repeats=1)):
        with pytest.raises(DataError, match="cannot measure"):
            measure_latency(session, wrong)
    with pytest.raises(DataError, match="batch 4 was not compiled in; there is 1, 8"):
        measure_latency(session, MeasureSettings(batch=4))
    for values in ((), (1, 2), (-5,) * 10):
        answered = Samples(kind="time_ns", values=values)
        monkeypatch.setattr(session, "measure", lambda _, answered=answered: answered)
        with pytest.raises(DeviceError, match="the device answered"):
            measure_latency(session, SETTINGS)


@pytest.mark.parametrize(("ms", "verdict"), [(5, "better"), (20, "worse"), (10, "same")])
def test_a_comparison(ms, verdict):
    sessions = {"old": FakeSession(clock=steady(10)), "new": FakeSession(clock=steady(ms), artifact_hash="b" * 64)}
    result = compare_latency(sessions, SETTINGS)
    [ratio] = result.ratios
    assert result.valid and result.baseline == "old" and ratio.name == "new" and ratio.unit == "time"
    assert ratio.median == pytest.approx(ms / 10) and ratio.minimum == pytest.approx(ms / 10)
    assert ratio.verdict == verdict
    assert result.entries[0].measurement.conditions.interleaved_with == ("b" * 64,)


def test_a_difference_within_the_noise_is_none():
    blocks = [100, 104, 104, 100, 100, 104, 104, 100, 100, 104]
    noisy = FakeSession(clock=(b * MS for b in blocks for _ in range(10)))
    close = FakeSession(clock=itertools.repeat(103 * MS))
    [ratio] = compare_latency({"noisy": noisy, "close": close}, SETTINGS).ratios
    assert ratio.noise_band == pytest.approx(0.04) and ratio.median == pytest.approx(1.03)
    assert ratio.verdict == "same"


def test_a_comparison_with_an_invalid_part_is_invalid():
    hot = FakeSession(clock=steady(), facts=[replace(FACTS, governor="powersave")])
    result = compare_latency({"a": FakeSession(clock=steady()), "b": hot}, SETTINGS)
    assert not result.valid and result.ratios[0].verdict == "invalid" and result.reasons[0].startswith("b: ")


def test_what_cannot_be_compared():
    with pytest.raises(DataError, match="two artifacts"):
        compare_latency({"a": FakeSession()}, SETTINGS)
    with pytest.raises(DataError, match="times cannot be compared"):
        compare_latency({"a": FakeSession(clock=steady()), "b": FakeSession(clock=steady(), emulated=True)}, SETTINGS)
    counted = {n: FakeSession(clock=[c, c], emulated=True) for n, c in (("a", 200), ("b", 100))}
    [ratio] = compare_latency(counted, SETTINGS).ratios
    assert (ratio.unit, ratio.median, ratio.verdict) == ("instructions", 0.5, "better")


def with_gpu(monkeypatch, gpu_ns):
    monkeypatch.setattr(FakeSession, "measure", lambda self, settings: Samples(
        kind="time_ns", values=tuple(next(self.clock) for _ in range(settings.runs)), gpu_ns=gpu_ns(settings.runs)))
    return measure_latency(FakeSession(clock=steady()), SETTINGS)


def test_a_gpus_own_time_is_reported_beside_the_time_end_to_end(monkeypatch):
    result = with_gpu(monkeypatch, lambda runs: (3 * MS, *[2 * MS] * (runs - 1)))
    assert len(result.gpu_samples_ms) == len(result.samples_ms) == 100
    assert (result.gpu_p50_ms, result.gpu_min_ms, result.p50_ms) == (2.0, 2.0, 10.04)
    assert any("on the GPU p50 2.000 ms, min 2.000 ms" in line for line in measurement_lines(result))
    assert decode_json(encode_json(result), LatencyResult) == result
    with pytest.raises(ValueError, match="same runs"):
        replace(result, gpu_samples_ms=(1.0,))


@pytest.mark.parametrize("gpu_ns", [lambda runs: (1,), lambda runs: (-1,) * runs])
def test_a_gpus_time_of_other_runs_is_refused(gpu_ns, monkeypatch):
    with pytest.raises(DeviceError, match="answered"):
        with_gpu(monkeypatch, gpu_ns)


def test_without_a_gpu_nothing_is_said_of_one():
    result = measure_latency(FakeSession(clock=steady()), SETTINGS)
    assert (result.gpu_samples_ms, result.gpu_p50_ms) == ((), None)
    assert not any("GPU" in line for line in measurement_lines(result))
