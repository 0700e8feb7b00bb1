"""Latency as a picture: every sample over time, and how the samples are distributed. Inline SVG, nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgecls.report.text import html_text
from edgecls.results import LatencyResult

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito: told apart by colour-blind people too
_WIDTH, _HEIGHT = 760, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 560, 28, 220
_BINS = 40
_MAX_POINTS = 2000


def latency_svg(name: str, result: LatencyResult) -> str:
    """One measurement: samples in the order of time, coloured by repeat; p50, p90; histogram at the right."""
    samples = result.samples_ms
    low, high, ticks = _scale(min(samples), max(samples))

    def y(ms: float) -> float:
        return _BOTTOM - (ms - low) / (high - low) * (_BOTTOM - _TOP)

    def x(i: int) -> float:
        return _LEFT + 8 + i / max(1, len(samples) - 1) * (_RIGHT - _LEFT - 16)

    step = -(-len(samples) // _MAX_POINTS)
    status = "" if result.valid else " INVALID"
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{html_text(name)}: latency samples in milliseconds{status}</title>",
        f'<line class="axis" x1="{_LEFT}" y1="{_TOP}" x2="{_LEFT}" y2="{_BOTTOM}"/>',
        f'<line class="axis" x1="{_LEFT}" y1="{_BOTTOM}" x2="{_WIDTH - 60}" y2="{_BOTTOM}"/>',
        f'<text x="8" y="{_TOP - 12}">ms</text>',
        f'<text x="{_LEFT}" y="{_BOTTOM + 28}">samples in the order of time ({len(samples)})</text>',
        f'<text x="{_RIGHT + 10}" y="{_BOTTOM + 28}">distribution</text>',
    ]
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y(tick):.1f}" x2="{_WIDTH - 60}" y2="{y(tick):.1f}"/>'
                     f'<text class="tick" x="{_LEFT - 6}" y="{y(tick) + 4:.1f}">{tick:g}</text>')
    for label, value in (("p50", result.p50_ms), ("p90", result.p90_ms)):
        if value is not None and low <= value <= high:
            at = y(value)
            parts.append(f'<line class="{label}" x1="{_LEFT}" y1="{at:.1f}" x2="{_WIDTH - 60}" y2="{at:.1f}"/>'
                         f'<text x="{_WIDTH - 54}" y="{at + 4:.1f}">{label}</text>')
    for i in range(0, len(samples), step):
        color = _COLORS[result.sample_repeat[i] % len(_COLORS)]
        parts.append(f'<circle cx="{x(i):.1f}" cy="{y(samples[i]):.1f}" r="2.2" fill="{color}"/>')
    parts += _histogram(samples, low, high)
    for repeat in range(min(len(result.repeats_ms), len(_COLORS))):
        left = _LEFT + 250 + 80 * repeat
        parts.append(f'<circle cx="{left}" cy="{_BOTTOM + 24}" r="4" fill="{_COLORS[repeat]}"/>'
                     f'<text x="{left + 8}" y="{_BOTTOM + 28}">repeat {repeat + 1}</text>')
    if not result.valid:
        parts.append(f'<text class="invalid" x="{(_LEFT + _RIGHT) // 2}" y="{_TOP + 24}">INVALID</text>')
    return "\n".join([*parts, "</svg>"])


def comparison_svg(name: str, results: Sequence[tuple[str, LatencyResult]]) -> str:
    """Several measurements of one run: the share of samples that took no longer than a time, one curve each."""
    low, high, ticks = _scale(min(min(r.samples_ms) for _, r in results), max(max(r.samples_ms) for _, r in results))

    def x(ms: float) -> float:
        return _LEFT + (ms - low) / (high - low) * (_RIGHT - _LEFT)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{html_text(name)}: share of samples that took no longer</title>",
        f'<line class="axis" x1="{_LEFT}" y1="{_BOTTOM}" x2="{_RIGHT}" y2="{_BOTTOM}"/>',
        f'<text x="{_RIGHT + 10}" y="{_BOTTOM + 18}">ms</text>',
    ]
    for percent in (0, 50, 90, 100):
        y = _BOTTOM - percent / 100 * (_BOTTOM - _TOP)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}"/>'
                     f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}">{percent} %</text>')
    parts += [f'<text class="middle" x="{x(t):.1f}" y="{_BOTTOM + 18}">{t:g}</text>' for t in ticks]
    for i, (label, result) in enumerate(results):
        color, values = _COLORS[i % len(_COLORS)], sorted(result.samples_ms)
        kept = range(0, len(values), -(-len(values) // _MAX_POINTS))
        path = "".join(f"H{x(values[k]):.1f}V{_BOTTOM - (k + 1) / len(values) * (_BOTTOM - _TOP):.1f}" for k in kept)
        status = "" if result.valid else " INVALID"
        parts.append(f'<path class="curve" stroke="{color}" d="M{_LEFT} {_BOTTOM}{path}V{_TOP}H{_RIGHT}"/>'
                     f'<circle cx="{_RIGHT + 16}" cy="{_TOP + 20 * i}" r="4" fill="{color}"/>'
                     f'<text x="{_RIGHT + 26}" y="{_TOP + 4 + 20 * i}">{html_text(label[:24])}{status}</text>')
    return "\n".join([*parts, "</svg>"])


def _histogram(samples: Sequence[float], low: float, high: float) -> list[str]:
    counts = [0] * _BINS
    for s in samples:
        counts[min(_BINS - 1, int((s - low) / (high - low) * _BINS))] += 1
    height, room = (_BOTTOM - _TOP) / _BINS, _WIDTH - 70 - _RIGHT
    return [f'<rect class="bar" x="{_RIGHT}" y="{_BOTTOM - (b + 1) * height:.1f}" '
            f'width="{count / max(counts) * room:.1f}" height="{height - 0.5:.1f}"/>'
            for b, count in enumerate(counts) if count]


def _scale(low: float, high: float) -> tuple[float, float, list[float]]:
    """Round limits around low..high and about five round ticks between them."""
    if high - low < 1e-9:  # below a picosecond: all samples are equal
        margin = max(0.05 * high, 1e-6)
        low, high = low - margin, high + margin
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [i * step for i in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks
