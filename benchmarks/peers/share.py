"""How much of the peak the dense convolutions of whole networks reach: 1x1 and 3x3 with at least 32 channels each way.

    python -m benchmarks.peers.share [--models NAME...] [--runs N] [--onnx FOLDER] [-o benchmarks/results/share.json]

On one thread. Each kernel's time is taken while the network runs, the peak right behind each run. Winograd counts as
the direct convolution that it stands for, so it may exceed the peak: beside it is the share of the others alone.
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
from benchmarks.peers import others
from benchmarks.peers import spent as below
from benchmarks.peers.conditions import MOST_FOREIGN_CPU, foreign_cpus
from benchmarks.peers.dense import Shape, dense_nodes, spent, uses_weights_once, watch
from benchmarks.peers.floors import RateMeter, Rates, best, pinned
from benchmarks.peers.layers import Call, judge
from edgecls import pipeline
from edgecls.backends.tvm.blocked.families.product import halves
from edgecls.bundle import open_bundle
from edgecls.frontend import ExportOptions, load_onnx
from edgecls.harness.statistics import percentile
from edgecls.passes import optimize_graph
from edgecls.targets import load_target

_NETWORKS = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x1_0",
             "vgg16")
_NEAR = 16 << 10
_LEGEND = (
    "Dense 1x1 and 3x3 convolutions with at least 32 input and output channels, each kernel timed on one thread while "
    "its network runs (median of the runs), all of a network's summed: work over time, over the multiply-adds that the "
    "core did within the next millisecond. Winograd and Strassen count as the direct convolution that they stand for, "
    "and taps in the padding count although no kernel computes them: either may exceed the peak.",
    "Two peaks: multiply-adds of registers alone, and those of a 14 x 2 product (6 x 2, 8 x 3 with fewer or shorter "
    "vectors) whose operands are in the first cache. Where they differ, the processor lowers its clock, or loads take "
    "the place of multiply-adds: no product can avoid them, so the second is what a kernel could reach. Its clock "
    "changes from run to run: times are scaled to the one at which the second peak is its median. *Best peak*: of "
    "registers alone, the best of 25 ms windows before and after all runs: the clock that a core has now and then.",
    "Convolutions of one pixel (squeeze-excite) use each weight once. They are judged as the matrix-vector products "
    "that they are: the time that their weights take at the machine's bandwidth, over the time that they take.",
)


def _share(row: Row, kind: str, peak: str = "flops_per_s") -> str:
    group = row[kind]
    return f"{_rate(group) / row['rates'][peak]:.0%}" if group["us"] else "–"


def _rate(group: Mapping[str, float]) -> float:
    return group["flops"] / group["us"] * 1e6 if group["us"] else 0.0


_FED = "fed_flops_per_s"
_COLUMNS = (
    Column("network", lambda r: r["network"]),
    Column("dense kernels", lambda r: r["all"]["kernels"]),
    Column("share of the network's multiply-adds", lambda r: f"{r['all']['flops'] / r['flops']:.0%}"),
    Column("GFLOP/s", lambda r: f"{_rate(r['all']) / 1e9:.1f}"),
    Column("of peak in registers", lambda r: _share(r, "all")),
    Column("of peak from first cache", lambda r: _share(r, "all", _FED)),
    Column("the same, direct alone", lambda r: _share(r, "direct", _FED)),
    Column("of the best peak in registers", lambda r: f"{_rate(r['all']) / r['best_flops_per_s']:.0%}"),
    Column("peaks, GFLOP/s", lambda r: f"{r['rates']['flops_per_s'] / 1e9:.1f}, {r['rates'][_FED] / 1e9:.1f}"),
    Column("the second, 5 % to 95 % of the runs", lambda r: " to ".join(
        f"{percentile(r['raw']['fed'], percent) / 1e9:.1f}" for percent in (5, 95))),
    Column("one-pixel kernels", lambda r: r["once"]["kernels"]),
    Column("of their floor", lambda r: f"{r['once']['floor_us'] / r['once']['us']:.0%}" if r["once"]["us"] else "–"),
    Column("of peak in registers, both", lambda r: _share(r, "with_once")),
    Column("valid", lambda r: "yes" if r["valid"] else "NO: other programs ran"),
    Column("bundle", lambda r: r["bundle"][:12]),
)


def summed(calls: Sequence[Call]) -> dict[str, float]:
    return {"kernels": len(calls), "flops": sum(c.layer.flops for c in calls), "us": sum(c.us for c in calls),
            "floor_us": sum(c.floor_us for c in calls)}


def measure(model: Path, runs: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="edgecls-") as name:
        folder = Path(name)
        target = load_target("native")
        artifact = open_bundle(pipeline.compile_model(model, target, folder / "model.ecls").path)
        network = onnx.load_from_string(optimize_graph(load_onnx(model, ExportOptions())).onnx[1])
        shapes = dense_nodes(network)
        with pinned(1):
            meter, weights = RateMeter(folder), artifact.manifest.weights_bytes
            before = meter.measure(1, weights)
            with foreign_cpus() as foreign:
                watched = watch(artifact, folder, runs)
            measured = best([before, meter.measure(1, weights)])
            near = meter.measure(1, _NEAR)
    together = measured.lanes // 2 if halves(target.cpu) else measured.lanes
    rates = Rates(lanes=measured.lanes, flops_per_s=watched.flops_per_s, fed_flops_per_s=watched.fed_flops_per_s,
                  read_bytes_per_s=measured.read_bytes_per_s)
    calls = [judge(artifact.manifest.layers[i], watched.at_one_clock(ns), rates) for i, ns in watched.times_ns.items()]
    # both at the network's clock
    first_cache = near.read_bytes_per_s / near.flops_per_s * rates.flops_per_s
    found = [c for c in calls if shapes.keys() & set(c.layer.onnx_nodes)]
    dense = [c for c in found if not uses_weights_once(c.layer)]
    direct = [c for c in dense if c.layer.algorithm == "direct"]
    return {"bundle": artifact.hash, "rates": msgspec.to_builtins(rates),
            "best_flops_per_s": measured.flops_per_s, "flops": sum(c.layer.flops for c in calls),
            "all": summed(dense), "direct": summed(direct),
            "once": summed([c for c in found if uses_weights_once(c.layer)]), "with_once": summed(found),
            "spent": [msgspec.to_builtins(spent(c, _shape(c, shapes), watched.cold_us(c.layer.index), rates,
                                             together)) for c in direct],
            "others": [msgspec.to_builtins(others.other(c, others.grouped_nodes(network), rates, first_cache))
                       for c in calls if c.layer.flops and c.layer.weight_bytes and c not in dense],
            "first_cache_bytes_per_s": first_cache, "raw": {"alone": watched.alone, "fed": watched.fed,
                    "times_ns": {str(i): " ".join(map(str, ns)) for i, ns in watched.times_ns.items()},
                    "third_ns": {str(i): " ".join(map(str, ns)) for i, ns in watched.third_ns.items()}},
            "foreign_cpus": foreign[0], "valid": foreign[0] <= MOST_FOREIGN_CPU}


def _shape(call: Call, shapes: Mapping[str, Shape]) -> Shape:
    return next(shapes[node] for node in call.layer.onnx_nodes if node in shapes)


def sections(rows: Sequence[Row]) -> list[str]:
    return [*_together(rows), *others.sections(rows), *below.sections(rows)]


def _together(rows: Sequence[Row]) -> list[str]:
    shares = []
    for kind in ("all", "direct"):
        at_peak = 1e6 * sum(row[kind]["flops"] / row["rates"]["flops_per_s"] for row in rows)
        shares.append(f"{at_peak / max(sum(row[kind]['us'] for row in rows), 1e-9):.0%}")
    return [f"All networks of the table together: {shares[0]} of the peak in registers, {shares[1]} without Winograd's "
            "layers.", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=tuple(MODELS), default=_NETWORKS)
    parser.add_argument("--runs", type=positive, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/share.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    evidence = Evidence(args.output, title="Dense convolutions at the peak", legend=_LEGEND, columns=_COLUMNS,
                        identity=("network",), sections=sections)
    for done, name in enumerate(args.models):
        say(f"[{done + 1}/{len(args.models)}] {name}")
        row = {"network": name, **measure(model_file(name, args.onnx), args.runs)}
        evidence.put(row)
        say(f"  {_share(row, 'all')} of {row['rates']['flops_per_s'] / 1e9:.1f} GFLOP/s in registers, "
            f"{_share(row, 'all', _FED)} of {row['rates'][_FED] / 1e9:.1f} from the first cache")


if __name__ == "__main__":
    run_main(main)
