"""Batch sizes that are multiples of nothing: time per image, and its share of the measured peak, on this machine.

    python -m benchmarks.batches [--models NAME...] [--batches N...] [--threads N...] [--rounds N] [--onnx FOLDER]
                                 [-o benchmarks/results/batches.json]

One bundle of each network holds all batch sizes, and they take turns. Valid rows of the same commit and network are not
measured again. Use a machine that does nothing else: a row whose conditions were bad says so.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import onnx

from benchmarks.command_line import positive, run_main
from benchmarks.evidence import Column, Evidence, Row, commit, say
from benchmarks.models import MODELS, add_onnx_option, model_file
from benchmarks.peers.conditions import MOST_FOREIGN_CPU, MOST_PEAK_CHANGE, disturbances, foreign_cpus
from benchmarks.peers.figures import Work, bind, timings, work
from benchmarks.peers.floors import RateMeter, Rates, pinned
from benchmarks.peers.rounds import TURN_MS, Turn, play, turn
from edgecls import pipeline
from edgecls.frozen import sha256
from edgecls.targets import load_target
from edgecls.types import Artifact, MeasureSettings

_NETWORKS = ("vit_tiny", "swin_tiny", "resnet50", "mobilenet_v2")
_BATCHES = (1, 2, 3, 5, 8)
_THREADS = (1, 2, 4)
_FIRST_LOOK = Turn(warmup=1, runs=2)

_LEGEND = (
    "Milliseconds per image, median / minimum: float32, compiled for `native` without tuning, timed by the runtime. "
    "One bundle of each network holds all its batch sizes; for each number of threads these took turns of about "
    f"{TURN_MS:.0f} ms, of three inferences at least, in an order that changes from round to round. *To batch 1*: of "
    "medians, below 1 an image takes less time than alone. One thread is pinned to one CPU.",
    "*Of peak*: multiply-adds over median time, of what a micro-benchmark of fused multiply-adds reached in the same "
    "session. They are counted as direct convolutions: Winograd needs fewer and may exceed the peak. *Valid* needs "
    f"other programs on at most {MOST_FOREIGN_CPU:g} CPUs and a steady peak: rounds before or after which it was "
    f"outside of the {MOST_PEAK_CHANGE:.0%} in which most lay were played again; their samples do not count.",
)


def cell(row: Row) -> str:
    if "not_run" in row:
        return f"not run: {row['not_run']}"
    return f"{row['p50_ms'] / row['batch']:.2f} / {row['min_ms'] / row['batch']:.2f}"


def of_peak(row: Row) -> float:
    flops = 2 * row["work"]["multiply_adds"] * row["batch"]
    return float(flops / (row["p50_ms"] * 1e-3) / max(row["peaks_flops_per_s"]))


COLUMNS = (
    Column("network", lambda r: r["network"]),
    Column("threads", lambda r: r["threads"]),
    Column("batch", lambda r: r["batch"] or "all"),
    Column("ms per image", cell),
    Column("to batch 1", lambda r: f"{r['to_batch_1']:.2f}" if r.get("to_batch_1") else "–"),
    Column("of peak", lambda r: "–" if "not_run" in r else f"{of_peak(r):.0%}"),
    Column("peak, GFLOP/s", lambda r: "–" if "not_run" in r else f"{max(r['peaks_flops_per_s']) / 1e9:.1f}"),
    Column("valid", lambda r: "–" if "not_run" in r else "yes" if r["valid"] else "NO: " + "; ".join(r["reasons"])),
)


def measure(artifact: Artifact, load: Work, batches: Sequence[int], threads: int, rounds: int,
            meter: RateMeter) -> list[Row]:
    """A row for each batch size. load: of one image."""
    rates = list[Rates]()

    def peak(done: int) -> float:
        say(f"  {threads} thread(s), {done} rounds played for {rounds} with a steady peak")
        rates.append(meter.measure(threads, load.weight_bytes))
        return rates[-1].flops_per_s

    with pinned(threads), pipeline.open_session(artifact, "local", threads) as session:
        def run(batch: int, asked: Turn) -> Sequence[int]:
            return session.measure(MeasureSettings(batch=batch, warmup=asked.warmup, runs=asked.runs)).values

        turns = {batch: turn(min(run(batch, _FIRST_LOOK)) / 1e6) for batch in batches}
        with foreign_cpus() as foreign:
            samples, counted = play(run, turns, rounds, peak)
    return rows(samples, counted, load, [r.flops_per_s for r in rates], foreign[0])


def rows(samples: Mapping[int, Sequence[Sequence[int]]], counted: Sequence[int], load: Work, peaks: Sequence[float],
         foreign: float) -> list[Row]:
    """samples: nanoseconds by batch size and round. peaks, foreign: what was measured of the machine meanwhile."""
    problems = disturbances(peaks, counted, foreign)
    found: dict[int, Row] = {batch: {
        "batch": batch, **timings(series, counted), "counted": list(counted), "work": msgspec.to_builtins(load),
        "peaks_flops_per_s": list(peaks), "foreign_cpus": foreign, "valid": not problems, "reasons": problems}
        for batch, series in samples.items()}
    if 1 in found:
        for batch, row in found.items():
            row["to_batch_1"] = row["p50_ms"] / batch / found[1]["p50_ms"]
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=tuple(MODELS), default=_NETWORKS)
    parser.add_argument("--batches", nargs="+", type=positive, metavar="N", default=_BATCHES)
    parser.add_argument("--threads", nargs="+", type=positive, metavar="N", default=_THREADS)
    parser.add_argument("--rounds", type=positive, metavar="N", default=10,
                        help="turns of each batch size (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/batches.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    batches = sorted(set(args.batches))
    evidence = Evidence(args.output, title="Batch sizes", legend=_LEGEND, columns=COLUMNS,
                        identity=("network", "threads", "batch"))
    for done, name in enumerate(args.models):
        model = model_file(name, args.onnx)
        known = {"network": name, "onnx": sha256(model.read_bytes())}
        missing = [n for n in args.threads if n <= cores and any(
            evidence.find(**known, commit=commit(), threads=n, batch=b, valid=True) is None for b in batches)]
        say(f"[{done + 1}/{len(args.models)}] {name}" + ("" if missing else ": already done at this commit"))
        if missing:
            with tempfile.TemporaryDirectory(prefix="edgecls-batches-") as folder:
                artifact = pipeline.compile_model(model, load_target("native"), Path(folder) / "model.ecls",
                                                  batches=batches)
                meter, load = RateMeter(Path(folder)), work(bind(onnx.load(model)))
                for threads in missing:
                    made = {**known, "threads": threads, "bundle": artifact.hash, "rounds": args.rounds}
                    for row in measure(artifact, load, batches, threads, args.rounds, meter):
                        evidence.put({**made, **row})
                        say(f"  batch {row['batch']}: {cell(row)} ms per image, {of_peak(row):.0%} of the peak"
                            + ("" if row["valid"] else "; NOT VALID: " + "; ".join(row["reasons"])))
        for threads in (n for n in args.threads if n > cores):
            evidence.put({**known, "threads": threads, "batch": None, "not_run": f"{cores} cores"})


if __name__ == "__main__":
    run_main(main)
