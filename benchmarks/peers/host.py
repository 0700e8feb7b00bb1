"""edgecls and other inference engines on the same ONNX files, on this machine, float32, batch 1, in one session.

    python -m benchmarks.peers.host [--models NAME...] [--engines NAME...] [--threads N...] [--rounds N] [--onnx FOLDER]
                                    [--venv FOLDER] [-o benchmarks/results/peers.json]
    python -m benchmarks.peers.host --install          only installs the peers (a run does so too)

Each engine lives in a process of its own, and they take turns; all but the one that measures are stopped. Valid rows of
the same commit, network and versions are not measured again. Use a machine that does nothing else: a row whose
conditions were bad says so.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command_line import positive, run_main
from benchmarks.evidence import Column, Evidence, Row, commit, say
from benchmarks.models import MODELS, add_onnx_option, model_file
from benchmarks.peers.conditions import MOST_FOREIGN_CPU, MOST_PEAK_CHANGE
from benchmarks.peers.engines import OURS, PEERS, RECIPES
from benchmarks.peers.environment import Environment
from benchmarks.peers.figures import AGREES
from benchmarks.peers.rounds import TURN_MS
from benchmarks.peers.sections import sections
from benchmarks.peers.stand import Stand
from benchmarks.peers.workers import WorkerError
from edgecls.frozen import sha256

NETWORKS = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0",
            "shufflenet_v2_x1_0", "vgg16", "vit_tiny", "deit_small", "swin_tiny", "convit_tiny", "coatnet_0")

_LEGEND = (
    "One inference of float32 networks at batch 1: median / minimum in milliseconds. All engines of a row were "
    f"measured in one session, each in a process of its own, in turns of about {TURN_MS:.0f} ms after a warm-up, in an "
    "order that changes from round to round; all others are stopped meanwhile. edgecls is compiled for `native` "
    "without tuning and timed by its own runtime, peers around their plain inference call from Python, "
    "which costs them some microseconds. One thread is pinned to one CPU.",
    "*Ratio*: edgecls over the fastest peer, so below 1 edgecls is faster; of medians / of minima. *A/A*: how far two "
    "processes of the same edgecls bundle differ, likewise: smaller differences mean nothing. WRONG: differs from ONNX "
    f"Runtime by more than {AGREES:g} of the range of its output. *Valid* needs a small A/A band, other programs on at "
    f"most {MOST_FOREIGN_CPU:g} CPUs, and a steady peak: rounds before or after which the machine multiplied and added "
    f"at a speed outside of the {MOST_PEAK_CHANGE:.0%} in which most lay were played again, and their samples do not "
    "count.",
    "*Floors*: multiply-adds at the peak that a micro-benchmark of fused multiply-adds reached in the same session, "
    "and float32 weights at the bandwidth with which it read as many bytes again and again. Multiply-adds are counted "
    "as direct convolutions: Winograd needs fewer and may go below that floor.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=tuple(MODELS), default=NETWORKS)
    parser.add_argument("--engines", nargs="+", metavar="NAME", choices=PEERS, default=PEERS,
                        help=f"peers, of {', '.join(PEERS)}; all when none is given")
    parser.add_argument("--threads", nargs="+", type=positive, metavar="N", default=(1, 2))
    parser.add_argument("--rounds", type=positive, metavar="N", default=16,
                        help="turns of each engine (default: %(default)s)")
    parser.add_argument("--venv", type=Path, metavar="FOLDER", default=Path("build/peers-venv"),
                        help="where the peers are, or are installed to (default: %(default)s)")
    parser.add_argument("--install", action="store_true", help="install the peers and stop")
    parser.add_argument("--converted", type=Path, metavar="FOLDER", default=Path("build/peers-models"),
                        help="keeps the networks in the peers' formats (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/peers.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no stopped worker is left behind
    environment = Environment(args.venv.absolute())
    environment.install(args.engines)
    if args.install:
        return
    versions = environment.versions(args.engines)
    evidence = Evidence(args.output, title="edgecls and its peers", legend=_LEGEND, columns=COLUMNS,
                        identity=("network", "threads"), sections=sections)
    for done, name in enumerate(args.models):
        model = model_file(name, args.onnx)
        known = {"network": name, "onnx": sha256(model.read_bytes()), "peers": versions, "commit": commit()}
        missing = [n for n in args.threads if evidence.find(**known, threads=n, valid=True) is None]
        say(f"[{done + 1}/{len(args.models)}] {name}" + ("" if missing else ": already done at this commit"))
        if missing:
            with tempfile.TemporaryDirectory(prefix="edgecls-peers-") as folder:
                stand = Stand(model, Path(folder), args.converted, args.engines, environment)
                for threads in missing:
                    try:
                        evidence.put({**known, "threads": threads, **stand.measure(threads, args.rounds)})
                        _tell(evidence.rows, name, threads)
                    except WorkerError as error:
                        say(f"  NO ROW: an engine broke down while it was measured: {error}")


def _tell(rows: Sequence[Row], network: str, threads: int) -> None:
    row = next(r for r in rows if r["network"] == network and r["threads"] == threads)
    say("  " + ", ".join(f"{RECIPES[n].title} {cell(row, n)}" for n in row["engines"]))
    say(f"  ratio to the fastest peer: {_ratio(row)}; {_valid(row)}")


def cell(row: Mapping[str, Any], name: str) -> str:
    engine = row["engines"].get(name)
    if engine is None:
        return "–"
    if "not_run" in engine:
        return "not run"
    return f"{engine['p50_ms']:.2f} / {engine['min_ms']:.2f}" + ("" if engine["agrees"] else " WRONG")


def _ratio(row: Mapping[str, Any]) -> str:
    found = row["ratios"]
    if found["fastest"] is None:
        return "–"
    return f"{found['to_fastest_p50']:.2f} / {found['to_fastest_min']:.2f} ({RECIPES[found['fastest']].title})"


def _valid(row: Mapping[str, Any]) -> str:
    return "yes" if row["valid"] else "NO: " + "; ".join(row["reasons"])


def _band(row: Mapping[str, Any]) -> str:
    return f"{row['noise_band']['p50']:.1%} / {row['noise_band']['min']:.1%}" if row["noise_band"] else "–"


def _engine_column(name: str) -> Column:
    return Column(RECIPES[name].title, lambda row: cell(row, name))


COLUMNS = (
    Column("network", lambda r: r["network"]),
    Column("threads", lambda r: r["threads"]),
    *(_engine_column(name) for name in (OURS, *PEERS)),
    Column("ratio", _ratio),
    Column("A/A", _band),
    Column("multiply-adds, million", lambda r: f"{r['work']['multiply_adds'] / 1e6:,.0f}"),
    Column("floors: FMA / weights, ms",
           lambda r: f"{r['floors_ms']['multiply_adds']:.2f} / {r['floors_ms']['weights']:.2f}"),
    Column("valid", _valid),
)


if __name__ == "__main__":
    run_main(main)
