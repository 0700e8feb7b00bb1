"""Where the time of one network goes: every kernel call of its plan against what this machine can do.

    python -m benchmarks.peers.layers NETWORK|FILE.onnx|FILE.ecls [--threads N] [--runs N] [--sort]
                                      [--onnx FOLDER] [--json FILE]

A network is compiled for `native`; the peak of multiply-adds and the read bandwidth are measured in turn with its
profile. The floor of a call is the larger of its multiply-adds at that peak and its weights at that bandwidth. With
--sort the calls that lose most against their floor come first.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command_line import positive, run_main
from benchmarks.evidence import commit, machine, markdown_table, say
from benchmarks.models import add_onnx_option, model_file
from benchmarks.peers.floors import RateMeter, Rates, best, pin
from edgecls import pipeline
from edgecls.bundle import open_bundle
from edgecls.frozen import Frozen, encode_json
from edgecls.harness.statistics import percentile, spread
from edgecls.interfaces import Session
from edgecls.output import write_beside
from edgecls.targets import load_target
from edgecls.types import Layer, MeasureSettings

_ROUNDS = 5
_STEADY = 0.05
_TITLES = ("#", "µs", "of all", "GFLOP/s", "of peak", "floor µs", "lost µs", "op", "algorithm", "layout", "kernel",
           "first node")


class Call(Frozen):
    """One call of the plan. us: median over the rounds, in each of which it is a mean."""

    layer: Layer
    us: float
    us_min: float
    gflops: float
    of_peak: float
    floor_us: float

    @property
    def lost_us(self) -> float:
        return self.us - self.floor_us


def judge(layer: Layer, times_ns: Sequence[float], rates: Rates) -> Call:
    """times_ns: of each round, at least one."""
    median = max(percentile(times_ns, 50), 1.0)
    return Call(layer=layer, us=median / 1e3, us_min=min(times_ns) / 1e3, gflops=layer.flops / median,
                of_peak=layer.flops / (median * 1e-9) / rates.flops_per_s,
                floor_us=1e3 * rates.floor_ms(layer.flops, layer.weight_bytes))


def profile(session: Session, runs: int, times: dict[int, list[float]]) -> None:
    """Add the mean of `runs` runs, one right behind the other, to layer index -> nanoseconds. Runs that are asked for
    one by one find a core that has slept or done something else: small networks take a fifth longer."""
    for kernel in session.profile(runs):
        times.setdefault(kernel.layer, []).append(kernel.mean_ns)


def table(calls: Sequence[Call]) -> list[str]:
    total = sum(c.us for c in calls)
    rows = [[str(c.layer.index), f"{c.us:.1f}", f"{c.us / total:.1%}", f"{c.gflops:.1f}", f"{c.of_peak:.0%}",
             f"{c.floor_us:.1f}", f"{c.lost_us:.1f}", c.layer.op, c.layer.algorithm, c.layer.layout, c.layer.kernel,
             c.layer.onnx_nodes[0] if c.layer.onnx_nodes else ""] for c in calls]
    return markdown_table(_TITLES, rows)


def by_family(calls: Sequence[Call], peak: float) -> list[str]:
    """The same summed over algorithm and op. Rates are weighted by work, as time is what is added up."""
    families: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        families.setdefault((call.layer.op, call.layer.algorithm), []).append(call)
    total = sum(c.us for c in calls)
    rows = []
    for (op, algorithm), members in sorted(families.items(), key=lambda f: -sum(c.us for c in f[1])):
        us, flops = sum(c.us for c in members), sum(c.layer.flops for c in members)
        rows.append([op, algorithm, str(len(members)), f"{us:.1f}", f"{us / total:.1%}", f"{flops / us / 1e3:.1f}",
                     f"{flops / us * 1e6 / peak:.0%}", f"{sum(c.lost_us for c in members):.1f}"])
    return markdown_table(("op", "algorithm", "calls", "µs", "of all", "GFLOP/s", "of peak", "lost µs"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="a name, an ONNX file, or a bundle for this machine")
    parser.add_argument("--threads", type=positive, default=1, metavar="N")
    parser.add_argument("--runs", type=positive, default=1000, metavar="N", help="profiled runs (default: %(default)s)")
    parser.add_argument("--sort", action="store_true", help="by lost time, not in the plan's order")
    parser.add_argument("--json", type=Path, metavar="FILE")
    add_onnx_option(parser)
    args = parser.parse_args()
    pin(args.threads)
    with tempfile.TemporaryDirectory(prefix="edgecls-") as name:
        folder = Path(name)
        artifact = open_bundle(_bundle(args.network, args.onnx, folder))
        meter, weights = RateMeter(folder), artifact.manifest.weights_bytes
        rounds, whole = [meter.measure(args.threads, weights)], list[float]()
        times: dict[int, list[float]] = {}
        with pipeline.open_session(artifact, "local", args.threads) as session:
            for done in range(_ROUNDS):
                say(f"round {done + 1} of {_ROUNDS}")
                runs = max(1, args.runs // _ROUNDS)
                profile(session, runs, times)
                whole += [ns / 1e6 for ns in session.measure(MeasureSettings(warmup=3, runs=runs)).values]
                rounds.append(meter.measure(args.threads, weights))
        rates = best(rounds)
    calls = [judge(artifact.manifest.layers[i], ns, rates) for i, ns in times.items()]
    shown = sorted(calls, key=lambda c: -c.lost_us) if args.sort else calls
    flops, us = sum(c.layer.flops for c in calls), sum(c.us for c in calls)
    print("\n".join([
        *table(shown), "", *by_family(calls, rates.flops_per_s), "",
        f"{args.network}, {args.threads} thread(s), {args.runs} runs: whole inference p50 {percentile(whole, 50):.3f} "
        f"ms, minimum {min(whole):.3f} ms; calls together {us / 1e3:.3f} ms, {flops / us / 1e3:.1f} GFLOP/s, "
        f"{flops / us * 1e6 / rates.flops_per_s:.0%} of the peak", "",
        f"peak {rates.flops_per_s / 1e9:.1f} GFLOP/s ({rates.lanes} lanes), weights ({weights / 1e6:.1f} MB) read at "
        f"{rates.read_bytes_per_s / 1e9:.1f} GB/s: floor {rates.floor_ms(flops, weights):.3f} ms; "
        f"{artifact.manifest.target.cpu.name}; bundle {artifact.hash[:12]}"]))
    if spread([r.flops_per_s for r in rounds]) > _STEADY:
        say(f"NOT TO BE TRUSTED: the peak itself varied by more than {_STEADY:.0%}; the machine is busy")
    if args.json:
        write_beside(args.json, [encode_json({
            "network": args.network, "commit": commit(), "machine": machine(), "threads": args.threads, "rates": rounds,
            "whole_ms": whole, "bundle": artifact.hash, "calls": calls}, indent=True)])


def _bundle(network: str, onnx: Path, folder: Path) -> Path:
    path = Path(network)
    if path.suffix == ".ecls":
        return path
    model = path if path.suffix == ".onnx" else model_file(network, onnx)
    say(f"compiling {model.name}")
    return pipeline.compile_model(model, load_target("native"), folder / "model.ecls").path


if __name__ == "__main__":
    run_main(main)
