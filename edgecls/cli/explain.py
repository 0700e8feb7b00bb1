"""edgecls explain"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from edgecls.cli import options
from edgecls.cli.console import Console, JsonOutput
from edgecls.cli.text import megabytes, one_line, table
from edgecls.contract import Contract
from edgecls.types import Layer, Manifest, Precision


@click.command(name="explain")
@options.bundle_argument
@options.json_option
@options.quiet_option
def command(bundle: Path, json_file: str | None, quiet: bool) -> None:
    """Show what is in a bundle and why: target, contract, memory, passes and the table of layers."""
    from edgecls import pipeline

    output = JsonOutput(json_file, bundle)
    with Console(quiet) as console:
        console.progress("verifying the bundle", 0, 0)
        result = pipeline.explain(bundle)
    manifest = result.manifest
    output.say("\n".join(_facts(bundle, result.artifact, manifest)))
    output.say("\n" + table(["batch", "calls", "arena", "peak", "workspace/thread"],
                            [(p.batch, p.calls, megabytes(p.arena_bytes), megabytes(p.peak_bytes),
                              megabytes(p.workspace_bytes_per_thread)) for p in manifest.plans]))
    if any(p.engine_layers is not None for p in manifest.plans):
        output.say("\n" + table(["batch", "network_layers", "engine_layers", "engine layers by precision"],
                                [(p.batch, p.network_layers, p.engine_layers, _precisions(manifest.layers, p.batch))
                                 for p in manifest.plans]))
    if manifest.passes:
        output.say("\n" + table(["pass", "nodes", "largest output difference"],
                                [(p.name, f"{p.nodes_before} -> {p.nodes_after}" if p.fired else "unchanged",
                                  f"{p.max_difference:.2g}") for p in manifest.passes]))
    if manifest.layers:
        output.say("\n" + table(["layer", "batch", "operator", "algorithm", "layout", "precision", "weights",
                                 "activations", "MFLOP", "predicted us", "measured us", "error", "nodes", "reason"],
                                map(_layer, manifest.layers)))
    output.write(result)


def _precisions(layers: Sequence[Layer], batch: int) -> str:
    counts = Counter(row.precision for row in layers if row.batch == batch)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _precision(precision: Precision) -> str:
    text = str(precision.kind)
    if precision.calibration:
        text += (f", ranges by {precision.calibration} over {precision.calibration_images} images "
                 f"(sha256 {precision.calibration_hash[:16]})")
    return text + (f"; in float32: {', '.join(precision.kept_fp32)}" if precision.kept_fp32 else "")


def _facts(bundle: Path, digest: str, manifest: Manifest) -> list[str]:
    cpu, gpu = manifest.target.cpu, manifest.target.gpu
    facts = {
        "bundle": f"{bundle} (sha256 {digest})",
        "target": f"{manifest.target.name}: {cpu.cores} x {cpu.name} ({cpu.arch}), needs {', '.join(cpu.features)}",
        **({"gpu": f"{gpu.name}, compute capability {gpu.compute_capability}"}
           if gpu and manifest.backend == "tensorrt" else {}),
        "runs on": f"{manifest.runtime}, compiled by {manifest.backend}",
        **({} if manifest.finished else {"engine": "not built yet: run `edgecls finish` on the device with the GPU"}),
        **({"evidence": "the layers below are those of tensorrt-rtx for the same compute capability, not the engine's"}
           if not manifest.finished and manifest.layers else {}),
        "precision": _precision(manifest.precision),
        "toolchain": ", ".join(f"{k} {v}" for k, v in sorted(manifest.toolchain.items())),
        "options": ", ".join(f"{k}={v}" for k, v in sorted(manifest.options.items())) or "none",
        "made from": f"onnx sha256 {manifest.exported}",
        "members": ", ".join(f"{n} {megabytes(m.bytes)}" for n, m in sorted(manifest.members.items())),
        "weights": megabytes(manifest.weights_bytes),
        **_contract(manifest.contract),
    }
    width = max(map(len, facts))
    return [f"{one_line(key).ljust(width)}  {one_line(value)}" for key, value in facts.items()]


def _contract(contract: Contract) -> dict[str, str]:
    facts = {}
    for i in contract.inputs:
        text = f"{i.dtype} {i.layout}"
        if i.resize and i.size:
            text += (f", {i.resize.algorithm} {i.resize.interpolation} resize {i.resize.mode} "
                     f"{i.resize.size[0]}x{i.resize.size[1]}, crop {i.crop} {i.size[0]}x{i.size[1]}, {i.color}, "
                     f"(v * {i.scale:.6g} - {_numbers(i.mean)}) / {_numbers(i.std)}, alpha {i.alpha}, exif {i.exif}")
        facts[f"input {i.name}"] = text
    for o in contract.outputs:
        labels = f", {len(o.labels)} labels" if o.labels else ""
        facts[f"output {o.name}"] = f"{o.role}, activation {o.activation}{labels}, {contract.task}"
    return facts


def _numbers(values: tuple[float, ...] | None) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in values or ()) + ")"


def _layer(row: Layer) -> tuple[object, ...]:
    def measured(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    return (row.index, row.batch, row.op, row.algorithm, row.layout, row.precision, megabytes(row.weight_bytes),
            megabytes(row.activation_bytes), f"{row.flops / 1e6:.2f}", measured(row.predicted_us),
            measured(row.measured_us), measured(row.error), " ".join(row.onnx_nodes), row.reason)
