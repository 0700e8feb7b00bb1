"""Did a measurement keep its own conditions? Reasons why not, and notes on what nobody could check."""

from __future__ import annotations

from collections.abc import Sequence

from edgecls.harness.statistics import percentile
from edgecls.results import Limits, NoiseBand
from edgecls.types import DeviceFacts


def latency_reasons(samples: Sequence[float], noise: NoiseBand, threads: int, before: DeviceFacts,
                    after: DeviceFacts, limits: Limits) -> tuple[list[str], list[str]]:
    """(reasons, notes) of times in the order they were measured. Any reason makes the measurement INVALID."""
    reasons = _device_reasons(threads, before, after, limits)
    if len(samples) < limits.min_samples:
        reasons.append(f"{len(samples)} samples are fewer than {limits.min_samples}")
    if min(samples) <= 0:
        reasons.append("the device's timer is too coarse: a sample is 0")
    if noise.median > limits.max_noise_band:
        reasons.append(f"repeats of the same artifact differ by {noise.median:.1%}, more than "
                       f"{limits.max_noise_band:.1%}")
    drift = _drift(samples)
    if abs(drift) > limits.max_drift:
        how = "slower" if drift > 0 else "faster"
        reasons.append(f"the last quarter is {abs(drift):.1%} {how} than the first, more than {limits.max_drift:.1%}")
    unknown = [name for name, value in (("governor", before.governor), ("clocks", before.clocks_mhz),
                                        ("temperature", before.temperature_c), ("load", before.load)) if value is None]
    return reasons, [f"could not be read on the device: {', '.join(unknown)}"] if unknown else []


def instruction_reasons(spread: float, limits: Limits) -> list[str]:
    if spread > limits.max_instruction_spread:
        return [f"counts of the same artifact differ by {spread:.2e}, more than {limits.max_instruction_spread:.0e}"]
    return []


def _device_reasons(threads: int, before: DeviceFacts, after: DeviceFacts, limits: Limits) -> list[str]:
    reasons = []
    for governor in dict.fromkeys((before.governor, after.governor)):
        if governor is not None and governor != limits.governor:
            reasons.append(f"the CPU governor is {governor!r}, not {limits.governor!r}")
    if before.clocks_mhz and after.clocks_mhz:
        first, last = max(before.clocks_mhz), max(after.clocks_mhz)
        if first > 0 and abs(last - first) / first > limits.max_clock_change:
            reasons.append(f"the clock went from {first:.0f} to {last:.0f} MHz, more than "
                           f"{limits.max_clock_change:.0%}")
    if before.temperature_c is not None and after.temperature_c is not None:
        rise = after.temperature_c - before.temperature_c
        if rise > limits.max_temperature_rise_c:
            reasons.append(f"the device warmed by {rise:.1f} °C, more than {limits.max_temperature_rise_c:.1f} °C")
    if before.cores is not None and threads > before.cores:
        reasons.append(f"{threads} threads share {before.cores} cores")
    if before.load is not None and before.cores and before.load > limits.max_load_per_core * before.cores:
        reasons.append(f"the load was {before.load:.2f} on {before.cores} cores before the start, more than "
                       f"{limits.max_load_per_core:.2f} per core")
    return reasons


def _drift(samples: Sequence[float]) -> float:
    """Median of the last quarter relative to that of the first; 0 with fewer than 8 samples."""
    quarter = len(samples) // 4
    first = percentile(samples[:quarter], 50) if quarter >= 2 else 0.0
    return percentile(samples[-quarter:], 50) / first - 1 if first > 0 else 0.0
