"""How much of the peak the dense convolutions of whole networks reach: 1x1 and 3x3 with at least 32 channels each way.

    python -m benchmarks.peers.share [--models NAME...] [--threads N] [--rounds N] [--onnx FOLDER]
                                     [-o benchmarks/results/share.json]

Each kernel's time is taken while the network runs again and again, each network's peak in turn with its rounds.
Winograd counts as the direct convolution that it stands for, so it may exceed the peak: beside it is the share of the
others alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import onnx

from benchmarks.command_line import positive, run_main
from benchmarks.evidence import Column, Evidence, Row, say
from benchmarks.models import MODELS, add_onnx_option, model_file
from benchmarks.peers import spent as below
from benchmarks.peers.conditions import MOST_PEAK_CHANGE, disturbances
from benchmarks.peers.dense import Shape, cold_us, dense_nodes, spent, uses_weights_once
from benchmarks.peers.floors import RateMeter, Rates, best, pin
from benchmarks.peers.layers import Call, judge, profile
from benchmarks.peers.rounds import Turn, play, turn
from edgecls import pipeline
from edgecls.bundle import open_bundle
from edgecls.frontend import ExportOptions, load_onnx
from edgecls.passes import optimize_graph
from edgecls.targets import load_target
from edgecls.types import MeasureSettings

_NETWORKS = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x1_0",
             "vgg16")
_HOT_RUNS = 60
_LEGEND = (
    "Dense 1x1 and 3x3 convolutions with at least 32 input and output channels, each kernel timed while its network "
    "runs again and again (mean of each round, median of these), all of a network's summed: work over time, over the "
    "multiply-adds that this machine's cores do at most, measured in turn with the rounds. Winograd and Strassen count "
    "as the direct convolution that they stand for, and taps in the padding count although no kernel computes them: "
    "either may exceed the peak.",
    "Two peaks: multiply-adds of registers alone, and those of a 14 x 2 product (6 x 2, 8 x 3 with fewer or shorter "
    "vectors) whose operands are in the first cache. Where they differ, the processor lowers its clock, or loads take "
    "the place of multiply-adds: no product can avoid them, so the second is what a kernel could reach.",
    "Convolutions of one pixel (squeeze-excite) use each weight once. They are judged as the matrix-vector products "
    "that they are: the time that their weights take at the machine's bandwidth, over the time that they take.",
    "Rounds before or after which the peak was more than "
    f"{MOST_PEAK_CHANGE:.0%} below its best were played again, and do not count.",
)


def _share(row: Row, kind: str, peak: str = "peak_flops_per_s") -> str:
    group = row[kind]
    return f"{group['flops'] / group['us'] * 1e6 / row[peak]:.0%}" if group["us"] else "-"


_FED = "fed_peak_flops_per_s"
_COLUMNS = (
    Column("network", lambda r: r["network"]),
    Column("threads", lambda r: r["threads"]),
    Column("dense kernels", lambda r: r["all"]["kernels"]),
    Column("share of the network's multiply-adds", lambda r: f"{r['all']['flops'] / r['flops']:.0%}"),
    Column("GFLOP/s", lambda r: f"{r['all']['flops'] / r['all']['us'] / 1e3:.1f}"),
    Column("of peak in registers", lambda r: _share(r, "all")),
    Column("of peak from first cache", lambda r: _share(r, "all", _FED)),
    Column("the same, direct alone", lambda r: _share(r, "direct", _FED)),
    Column("peaks, GFLOP/s", lambda r: f"{r['peak_flops_per_s'] / 1e9:.1f}, {r[_FED] / 1e9:.1f}"),
    Column("one-pixel kernels", lambda r: r["once"]["kernels"]),
    Column("of their floor", lambda r: f"{r['once']['floor_us'] / r['once']['us']:.0%}" if r["once"]["us"] else "-"),
    Column("of peak in registers, both", lambda r: _share(r, "with_once")),
    Column("valid", lambda r: "yes" if r["valid"] else "NO: the peak itself varied"),
    Column("bundle", lambda r: r["bundle"][:12]),
)


def summed(calls: Sequence[Call]) -> dict[str, float]:
    return {"kernels": len(calls), "flops": sum(c.layer.flops for c in calls), "us": sum(c.us for c in calls),
            "floor_us": sum(c.floor_us for c in calls)}


def measure(model: Path, threads: int, wanted: int) -> Row:
    """wanted: rounds with a steady peak."""
    rates = list[Rates]()

    def peak(done: int) -> float:
        rates.append(meter.measure(threads, weights))
        return rates[-1].flops_per_s

    def profiled(_: str, asked: Turn) -> list[dict[int, list[float]]]:
        times: dict[int, list[float]] = {}
        profile(session, asked.runs, times)
        return [times]

    with tempfile.TemporaryDirectory(prefix="edgecls-") as name:
        folder = Path(name)
        artifact = open_bundle(pipeline.compile_model(model, load_target("native"), folder / "model.ecls").path)
        shapes = dense_nodes(onnx.load_from_string(optimize_graph(load_onnx(model, ExportOptions())).onnx[1]))
        meter, weights = RateMeter(folder), artifact.manifest.weights_bytes
        with pipeline.open_session(artifact, "local", threads) as session:
            look = session.measure(MeasureSettings(warmup=3, runs=3)).values
            samples, counted = play(profiled, {"network": turn(min(look) / 1e6)}, wanted, peak)
        cold = cold_us(artifact, folder, _HOT_RUNS) if threads == 1 else {}
    rounds = [samples["network"][number][0] for number in counted]
    times = {index: [ns for times in rounds for ns in times[index]] for index in rounds[0]}
    calls = [judge(artifact.manifest.layers[i], ns, best(rates)) for i, ns in times.items()]
    found = [c for c in calls if shapes.keys() & set(c.layer.onnx_nodes)]
    dense = [c for c in found if not uses_weights_once(c.layer)]
    direct = [c for c in dense if c.layer.algorithm == "direct"]
    return {"threads": threads, "bundle": artifact.hash, "peak_flops_per_s": best(rates).flops_per_s,
            "fed_peak_flops_per_s": best(rates).fed_flops_per_s, "read_bytes_per_s": best(rates).read_bytes_per_s,
            "flops": sum(c.layer.flops for c in calls), "all": summed(dense), "direct": summed(direct),
            "once": summed([c for c in found if uses_weights_once(c.layer)]), "with_once": summed(found),
            "spent": [msgspec.to_builtins(spent(c, _shape(c, shapes), cold[c.layer.index], best(rates)))
                      for c in direct if cold],
            "times_ns": {artifact.manifest.layers[i].kernel: ns for i, ns in times.items()},
            "peaks_flops_per_s": [r.flops_per_s for r in rates], "counted": counted,
            "valid": not disturbances([r.flops_per_s for r in rates], counted, 0.0)}


def _shape(call: Call, shapes: Mapping[str, Shape]) -> Shape:
    return next(shapes[node] for node in call.layer.onnx_nodes if node in shapes)


def sections(rows: Sequence[Row]) -> list[str]:
    return [*_together(rows), *below.sections(rows)]


def _together(rows: Sequence[Row]) -> list[str]:
    lines = []
    for threads in sorted({row["threads"] for row in rows}):
        own = [row for row in rows if row["threads"] == threads]
        shares = []
        for kind in ("all", "direct"):
            at_peak = sum(row[kind]["flops"] / row["peak_flops_per_s"] for row in own)
            shares.append(f"{at_peak / max(sum(row[kind]['us'] for row in own), 1e-9) * 1e6:.0%}")
        lines.append(f"{threads} thread(s), all networks of the table together: {shares[0]} of the peak in registers, "
                     f"{shares[1]} without Winograd's.")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=tuple(MODELS), default=_NETWORKS)
    parser.add_argument("--threads", type=positive, default=1, metavar="N")
    parser.add_argument("--rounds", type=positive, default=10, metavar="N", help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/share.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    pin(args.threads)
    evidence = Evidence(args.output, title="Dense convolutions at the peak", legend=_LEGEND, columns=_COLUMNS,
                        identity=("network", "threads"), sections=sections)
    for done, name in enumerate(args.models):
        say(f"[{done + 1}/{len(args.models)}] {name}")
        row = {"network": name, **measure(model_file(name, args.onnx), args.threads, args.rounds)}
        evidence.put(row)
        say(f"  {_share(row, 'all')} of {row['peak_flops_per_s'] / 1e9:.1f} GFLOP/s in registers, "
            f"{_share(row, 'all', _FED)} of {row[_FED] / 1e9:.1f} from the first cache")


if __name__ == "__main__":
    run_main(main)
