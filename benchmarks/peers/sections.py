"""What stands below the table of peers: ratios, speed against the peak, differences, and what could not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.evidence import Row, markdown_table
from benchmarks.peers.engines import AGAIN, OURS, PEERS, RECIPES
from benchmarks.peers.figures import geometric_mean

# the networks of the stand that have a mean of their own
ATTENTION = frozenset({"vit_tiny", "deit_small", "swin_tiny", "convit_tiny", "coatnet_0"})


def sections(rows: Sequence[Row]) -> list[str]:
    return [*_ratios(rows), *_speed(rows), *_differences(rows), *_not_run(rows)]


def _ratios(rows: Sequence[Row]) -> list[str]:
    names = [n for n in PEERS if any(n in r["ratios"]["p50"] for r in rows)]
    body = [[r["network"], str(r["threads"]), *(_pair(r["ratios"]["p50"].get(n), r["ratios"]["min"].get(n))
                                                for n in names),
             _pair(r["ratios"]["to_fastest_p50"], r["ratios"]["to_fastest_min"])] for r in rows]
    for kind, attention in (("convolutional", False), ("attention", True)):
        for threads in sorted({r["threads"] for r in rows}):
            those = [r["ratios"] for r in rows if r["threads"] == threads and r["ratios"]["fastest"]
                     and (r["network"] in ATTENTION) == attention]
            if those:
                body.append([f"**geometric mean, {kind}**", str(threads), *("" for _ in names),
                             _pair(geometric_mean([t["to_fastest_p50"] for t in those]),
                                   geometric_mean([t["to_fastest_min"] for t in those]))])
    return ["## edgecls over each peer, of medians / of minima", "",
            *markdown_table(("network", "threads", *(RECIPES[n].title for n in names), "fastest"), body), ""]


def _speed(rows: Sequence[Row]) -> list[str]:
    body = []
    for row in rows:
        peak = max(rate["flops_per_s"] for rate in row["rates"])
        flops = 2 * row["work"]["multiply_adds"]
        cells = [f"{flops / (e['p50_ms'] * 1e-3) / peak:.0%}" if "p50_ms" in (e := row["engines"].get(n, {})) else "–"
                 for n in (OURS, *PEERS)]
        read = max(rate["read_bytes_per_s"] for rate in row["rates"])
        body.append([row["network"], str(row["threads"]), *cells, f"{peak / 1e9:.1f}",
                     f"{row['work']['weight_bytes'] / 1e6:.1f}", f"{read / 1e9:.1f}"])
    titles = ("network", "threads", *(RECIPES[n].title for n in (OURS, *PEERS)), "peak, GFLOP/s", "weights, MB",
              "read, GB/s")
    return ["## Multiply-adds (as direct convolutions) per median time, of the measured peak", "",
            *markdown_table(titles, body), ""]


def _differences(rows: Sequence[Row]) -> list[str]:
    names = (OURS, AGAIN, *PEERS)
    body = [[r["network"], str(r["threads"]), *(_difference(r["engines"].get(n, {})) for n in names)] for r in rows]
    return ["## Difference of the first output to ONNX Runtime, of its range", "",
            *markdown_table(("network", "threads", *(RECIPES[n].title for n in names)), body), ""]


def _not_run(rows: Sequence[Row]) -> list[str]:
    lines = [f"- {r['network']}, {r['threads']} thread(s), {RECIPES[n].title}: not run: {e['not_run']}"
             for r in rows for n, e in r["engines"].items() if "not_run" in e]
    lines += [f"- {r['network']}, {r['threads']} thread(s), {RECIPES[n].title}: not asked for (--engines)"
              for r in rows for n in PEERS if n not in r["engines"]]
    peers = {f"{name} {version}" for r in rows for name, version in r["peers"].items()}
    return [*(["## Not run", "", *lines, ""] if lines else []), f"Peers: {', '.join(sorted(peers))}.", ""]


def _pair(p50: float | None, minimum: float | None) -> str:
    return "–" if p50 is None or minimum is None else f"{p50:.2f} / {minimum:.2f}"


def _difference(engine: dict[str, Any]) -> str:
    if "difference" not in engine:
        return "–"
    found = "not comparable" if engine["difference"] is None else f"{engine['difference']:.1e}"
    return found + ("" if engine["agrees"] else " WRONG")
