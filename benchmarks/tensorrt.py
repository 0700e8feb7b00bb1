"""What TensorRT-RTX's builder makes of each network, for each generation of cards, with no GPU.

    python -m benchmarks.tensorrt [--models NAME...] [--capabilities 7.5 8.6 8.9 12.0] [--onnx FOLDER]
                                  [-o benchmarks/results/tensorrt.json]

Seconds are of this machine. Nothing here was run on a GPU: layers and planned memory are the builder's own account.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.evidence import Column, Evidence, Row, commit, say
from benchmarks.models import LITE0, MODELS, add_onnx_option, model_file
from edgecls.backends.tensorrt.assemble import engine_layers
from edgecls.backends.tensorrt.build import build
from edgecls.backends.tensorrt.network import Network, networks
from edgecls.errors import ToolchainError, UnsupportedError
from edgecls.frontend import ExportOptions, load_onnx
from edgecls.frozen import sha256
from edgecls.passes import optimize_graph
from edgecls.passes.precision import PrecisionOptions, set_precision

CAPABILITIES = ("7.5", "8.6", "8.9", "12.0")
PRECISIONS = ("fp16", "fp32")

_LEGEND = (
    "Each network of the zoo, and EfficientNet-Lite0, at batch 1 through TensorRT-RTX's ahead-of-time builder on a "
    "machine with no GPU. *Network layers* is what the ONNX parser makes of the graph, *engine layers* what is left "
    "after fusion, *float / half / int8* what each of those multiplies in. *Activations* is the memory the builder "
    "plans for them. The plans are not committed: they are NVIDIA's code. No row says anything of speed.",
    "A refusal is in the builder's own words. Graphs are strongly typed, so float32 means float32: on compute "
    "capability 7.5 TensorRT-RTX has no float32 matrix products.",
)


def _if_built(cell: Callable[[Row], object]) -> Callable[[Row], object]:
    return lambda row: cell(row) if row["built"] else ""


_COLUMNS = (
    Column("network", lambda r: r["network"]),
    Column("precision", lambda r: r["precision"]),
    Column("for", lambda r: r["capability"]),
    Column("build, s", _if_built(lambda r: f"{r['seconds']:.1f}")),
    Column("plan, MB", _if_built(lambda r: f"{r['plan_bytes'] / 1e6:.1f}")),
    Column("network layers", _if_built(lambda r: r["network_layers"])),
    Column("engine layers", _if_built(lambda r: r["engine_layers"])),
    Column("float / half / int8", _if_built(
        lambda r: " / ".join(str(r["by_precision"].get(p, 0)) for p in ("fp32", "fp16", "int8")))),
    Column("activations, MB", _if_built(lambda r: f"{r['activation_bytes'] / 1e6:.1f}")),
    Column("refusal", lambda r: r["refusal"]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", default=(LITE0, *MODELS))
    parser.add_argument("--capabilities", nargs="+", metavar="N.N", default=CAPABILITIES)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/tensorrt.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    evidence = Evidence(args.output, title="TensorRT-RTX ahead of time", legend=_LEGEND, columns=_COLUMNS,
                        identity=("network", "precision", "capability"), packages=("tensorrt-rtx",))
    for name in args.models:
        missing = [(p, c) for p in PRECISIONS for c in args.capabilities
                   if not evidence.find(network=name, precision=p, capability=c, commit=commit())]
        if not missing:
            say(f"{name}: built at this commit already")
            continue
        graph = optimize_graph(load_onnx(model_file(name, args.onnx), ExportOptions()), [1])
        for precision in PRECISIONS:
            (network,) = networks(set_precision(graph, PrecisionOptions(precision=precision)))
            for wanted, capability in missing:
                if wanted == precision:
                    say(f"{name} {precision} for {capability}")
                    evidence.put({"network": name, "precision": precision, "capability": capability,
                                  **measure(network, capability)})
    built = Counter(row["built"] for row in evidence.rows)
    say(f"{built[True]} built, {built[False]} refused")


def measure(network: Network, capability: str) -> Row:
    """One build, or the builder's refusal. Raises MissingExtraError."""
    try:
        built, plan, _ = build(network, "tensorrt_rtx", capability=capability)
    except (ToolchainError, UnsupportedError) as refused:
        return {"built": False, "refusal": refused.message}
    layers = engine_layers(network, built)[1]
    return {"built": True, "refusal": "", "seconds": built.seconds, "tensorrt_rtx": built.version,
            "plan_bytes": len(plan), "plan_sha256": sha256(plan), "network_layers": built.network_layers,
            "network_types": built.network_types, "engine_layers": len(layers),
            "by_precision": Counter(layer.precision for layer in layers),
            "activation_bytes": built.memory.get("activation", 0), "weight_bytes": built.memory.get("weights", 0)}


if __name__ == "__main__":
    main()
