"""What compiling costs, and what comes out of it.

    python -m benchmarks.compile_table [--models NAME...] [--targets NAME...] [--onnx FOLDER]
                                       [-o benchmarks/results/compile.json]

Each network is compiled by `python -m edgecls compile` in a fresh process, twice. Times mean something only on a
machine that does nothing else: a row says how busy it was just before. Rows of the same commit and network are not
repeated.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.command_line import run_main
from benchmarks.evidence import Column, Evidence, Row, commit, say
from benchmarks.models import LITE0, MODELS, add_onnx_option, model_file
from benchmarks.process_tree import INTERVAL_S, TreeUse, run_sampled
from edgecls.bundle import open_bundle
from edgecls.frozen import sha256

RUNS = 2
BUSY_PERCENT = 10.0

_LEGEND = (
    f"`edgecls compile` of each network in a fresh process, {RUNS} times, on the machine below. Seconds are wall clock "
    "of the faster run, from the start of the process to its end. They are times of the compile host and say "
    "nothing of the device.",
    "*Peak memory* is of the whole process tree: the sum of the resident memory (RSS) of the process and all its "
    f"descendants, the largest of samples taken every {INTERVAL_S * 1000:.0f} ms (the JSON has the rate that was "
    "reached). Pages they share count for each. *ru_maxrss* is the kernel's own gapless maximum of the largest single "
    "process, as a cross-check.",
    "*Arena* holds inputs, outputs, activations and the workspaces of one thread, placed ahead of time; *live* is the "
    "most of them that is alive at once, which no placement can undercut; *tensors* is the same of the network's own "
    "tensors alone, unblocked and each gone after its last use. Weights are random "
    "(`benchmarks/models.py`), except EfficientNet-Lite0's.",
)
_COLUMNS = (
    Column("network", lambda r: r["network"]),
    Column("target", lambda r: r["target"]),
    Column("compile, s", lambda r: f"{min(r['seconds']):.1f}{'' if r['idle'] else ' (busy machine)'}"),
    Column("peak memory, MB", lambda r: _mb(max(r["peak_rss_bytes"]))),
    Column("ru_maxrss, MB", lambda r: _mb(max(r["ru_maxrss_bytes"]))),
    Column("bundle, MB", lambda r: _mb(r["bundle_bytes"])),
    Column("weights, MB", lambda r: _mb(r["weights_bytes"])),
    Column("model.so, kB", lambda r: _kb(r["model_so_bytes"])),
    Column("arena, kB", lambda r: _kb(r["arena_bytes"])),
    Column("live, kB", lambda r: _kb(r["peak_bytes"])),
    Column("tensors, kB", lambda r: _kb(r["tensors_peak_bytes"]) if "tensors_peak_bytes" in r else ""),
    Column("at 4 threads, kB", lambda r: _kb(r["arena_bytes_4"]) if r.get("arena_bytes_4") else ""),
    Column("kernel calls", lambda r: r["calls"]),
)


def measure(model: Path, target: str, folder: Path) -> Row:
    """Compile RUNS times; what it took and what came out. Raises RuntimeError when it fails or is not repeatable."""
    busy, uses, hashes = [], [], set()
    for run in range(RUNS):
        bundle, log = folder / f"{run}.ecls", folder / f"{run}.log"
        busy.append(psutil.cpu_percent(interval=1.0))
        use = run_sampled([sys.executable, "-m", "edgecls", "compile", str(model), "--target", target,
                           "-o", str(bundle), "--quiet"], log)
        if use.status:
            raise RuntimeError(f"{model.name} for {target}: {log.read_text(errors='replace').strip()}")
        artifact = open_bundle(bundle)
        uses.append(use)
        hashes.add(artifact.hash)
    if len(hashes) != 1:
        raise RuntimeError(f"{model.name} for {target}: two compiles gave different bundles")
    manifest, plan = artifact.manifest, artifact.manifest.plans[0]
    return {
        **_used(uses), "busy_before_percent": busy, "idle": max(busy) < BUSY_PERCENT,
        "bundle": artifact.hash, "toolchain": manifest.toolchain, "bundle_bytes": bundle.stat().st_size,
        "model_so_bytes": manifest.members["model.so"].bytes, "weights_bytes": manifest.weights_bytes,
        "batch": plan.batch, "calls": plan.calls, "arena_bytes": plan.arena_bytes, "peak_bytes": plan.peak_bytes,
        "workspace_bytes_per_thread": plan.workspace_bytes_per_thread,
        "tensors_peak_bytes": plan.tensors_peak_bytes,
        "arena_bytes_4": next((t.arena_bytes for t in plan.threads if t.threads == 4), None)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=(LITE0, *MODELS), default=(LITE0, *MODELS))
    parser.add_argument("--targets", nargs="+", metavar="NAME", default=("raspberry-pi-4",),
                        help="default: raspberry-pi-4; armv7 and native are of interest too")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/compile.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    evidence = Evidence(args.output, title="What compiling costs", legend=_LEGEND, columns=_COLUMNS,
                        identity=("network", "target"))
    pairs = [(name, target) for target in args.targets for name in args.models]
    for done, (name, target) in enumerate(pairs):
        model = model_file(name, args.onnx)
        known = {"network": name, "target": target, "onnx": sha256(model.read_bytes())}
        if evidence.find(**known, commit=commit()):
            say(f"[{done + 1}/{len(pairs)}] {name} for {target}: already done at this commit")
            continue
        say(f"[{done + 1}/{len(pairs)}] {name} for {target}")
        with tempfile.TemporaryDirectory(prefix="edgecls-compile-") as folder:
            row = measure(model, target, Path(folder))
        evidence.put({**known, **row})
        say(f"  {min(row['seconds']):.1f} s, {_mb(max(row['peak_rss_bytes']))} MB"
            + ("" if row["idle"] else "; the machine was busy: repeat it when it is idle"))


def _used(uses: list[TreeUse]) -> Row:
    return {"seconds": [round(u.seconds, 3) for u in uses], "peak_rss_bytes": [u.peak_rss for u in uses],
            "ru_maxrss_bytes": [u.max_rss for u in uses],
            "samples_per_second": [round(u.samples / u.seconds, 1) for u in uses],
            "processes": [u.processes for u in uses]}


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f}"


def _kb(count: int) -> str:
    return f"{count / 1e3:,.0f}"


if __name__ == "__main__":
    run_main(main)
