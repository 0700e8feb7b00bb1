"""What stands below the table of shares: where the time of the direct convolutions goes, kernel by kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.evidence import Row, markdown_table
from benchmarks.peers.dense import Spent

_PARTS = ("product", "lanes", "activation", "cold", "rest")
_TEXT = (
    "## Where the direct convolutions' time goes", "",
    "In microseconds; the parts add up. *Product*: the multiply-adds at the rate of a product in the "
    "first cache. *Lanes*: the same, of channels that do not fill their last vector, or its half where a core "
    "computes halves in half the time. *Activation*: vector instructions behind the sums, which take multiply-adds' "
    "place. *Cold*: a call's time in its network less that of its third time in a row: weights and pixels that are not "
    "in the caches. *Rest*: all else, as pixels that do not fill their last tile, weights on their way from the second "
    "cache, and the start of a kernel; an activation that nobody has counted the instructions of; and, below zero, "
    "taps in the padding, which the product has and no kernel "
    "computes.", "")


def sections(rows: Sequence[Row]) -> list[str]:
    kept = [row for row in rows if row["spent"]]
    if not kept:
        return []
    body = [[row["network"], *_cells(_total(row["spent"]))] for row in kept]
    return [*_TEXT, *markdown_table(("network", "µs", *_PARTS), body), "", *(x for row in kept for x in _kernels(row))]


def _kernels(row: Row) -> list[str]:
    found = [msgspec.convert(x, Spent) for x in row["spent"]]
    body = [[str(s.index), f"{s.shape.inputs} → {s.shape.outputs}, {s.pixels} pixels", s.activation_ops or "–",
             f"{2e-3 * s.shape.inputs * s.shape.outputs * s.pixels / s.us:.0f}", *_cells(_parts(s))] for s in found]
    titles = ("layer", "multiply-adds → channels", "behind the sums", "GFLOP/s", "µs", *_PARTS)
    return [f"### {row['network']}", "", *markdown_table(titles, body), ""]


def _parts(s: Spent) -> dict[str, float]:
    return {"us": s.us, **{part: getattr(s, part) for part in _PARTS}}


def _total(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    each = [_parts(msgspec.convert(x, Spent)) for x in entries]
    return {part: sum(e[part] for e in each) for part in ("us", *_PARTS)}


def _cells(parts: Mapping[str, float]) -> list[str]:
    """Microseconds of all, then of each part with its share."""
    return [f"{parts['us']:.1f}", *(f"{parts[part]:.1f} ({parts[part] / parts['us']:.0%})" for part in _PARTS)]
