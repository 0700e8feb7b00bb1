"""edgecls explain"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecls.cli import options
from edgecls.cli.console import Console, JsonOutput
from edgecls.cli.text import megabytes, one_line, table
from edgecls.contract import Contract
from edgecls.types import Layer, Manifest, PeakFacts, PlanFacts, Precision, ThreadFacts

if TYPE_CHECKING:
    from edgecls.results import ExplainResult


@click.command(name="explain")
@options.bundle_argument
@click.option("--profile", is_flag=True, help="Run it, and show how long each layer takes.")
@options.device_option
@options.threads_option
@options.timeout_option
@options.json_option
@options.quiet_option
def command(bundle: Path, profile: bool, device: str | None, threads: int, timeout: int | None,
            json_file: str | None, quiet: bool) -> None:
    """Show what is in a bundle and why: target, contract, memory, passes, the table of layers, and what conversions
    between layouts are left."""
    from edgecls import pipeline

    output = JsonOutput(json_file, bundle)
    if device and not profile:
        raise click.UsageError("--on says where --profile runs the bundle: give both, or neither")
    with Console(quiet) as console:
        console.progress("profiling the bundle" if profile else "verifying the bundle", 0, 0)
        result = pipeline.explain(bundle, profile=profile, device=device, threads=threads, timeout=timeout)
    manifest = result.manifest
    output.say("\n".join(_facts(bundle, result)))
    output.say("\n" + table(["batch", "threads", "calls", "arena", "live at most", "tensors at most"],
                            [(p.batch, t.threads, p.calls, megabytes(t.arena_bytes), megabytes(t.peak_bytes),
                              megabytes(p.tensors_peak_bytes)) for p in manifest.plans for t in _by_threads(p)]))
    for plan in manifest.plans:
        if plan.peak is not None:
            output.say(_fullest(plan, plan.peak))
    if any(p.engine_layers is not None for p in manifest.plans):
        output.say("\n" + table(["batch", "network_layers", "engine_layers", "engine layers by precision"],
                                [(p.batch, p.network_layers, p.engine_layers, _precisions(manifest.layers, p.batch))
                                 for p in manifest.plans]))
    if manifest.passes:
        output.say("\n" + table(["pass", "nodes", "largest output difference"],
                                [(p.name, f"{p.nodes_before} -> {p.nodes_after}" if p.fired else "unchanged",
                                  f"{p.max_difference:.2g}") for p in manifest.passes]))
    if manifest.layers:
        columns = _COLUMNS if manifest.runtime not in _ENGINES else {
            title: cell for title, cell in _COLUMNS.items() if title not in _OF_CPUS}
        clock = manifest.target.cpu.clock_mhz
        output.say("\n" + table([title.format(clock=clock) for title in columns],
                                [[cell(row) for cell in columns.values()] for row in manifest.layers]))
        output.say("\n" + "\n".join(_conversions(manifest.layers)))
    if profile and not any(layer.measured_us is not None for layer in manifest.layers):
        output.say("\nno layer was timed: under emulation a time means nothing")
    output.write(result)


def _precisions(layers: Sequence[Layer], batch: int) -> str:
    counts = Counter(row.precision for row in layers if row.batch == batch)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _precision(precision: Precision) -> str:
    text = str(precision.kind)
    if precision.calibration:
        text += (f", ranges by {precision.calibration} over {precision.calibration_images} images "
                 f"(sha256 {precision.calibration_hash[:16]})")
    if precision.kept_fp32:
        text += f"; in float32: {', '.join(precision.kept_fp32)}"
    if precision.beyond_fp16:
        text += f" (constants beyond float16's range in {', '.join(precision.beyond_fp16)})"
    return text


def _facts(bundle: Path, result: ExplainResult) -> list[str]:
    manifest = result.manifest
    cpu, gpu = manifest.target.cpu, manifest.target.gpu
    facts = {
        "bundle": f"{bundle} (sha256 {result.artifact})",
        "target": f"{manifest.target.name}: {cpu.cores} x {cpu.name} ({cpu.arch}), needs {', '.join(cpu.features)}",
        **({"gpu": f"{gpu.name}, compute capability {gpu.compute_capability}"}
           if gpu and manifest.backend == "tensorrt" else {}),
        "runs on": f"{manifest.runtime}, compiled by {manifest.backend}",
        **({} if manifest.finished else {"engine": "not built yet: run `edgecls finish` on the device with the GPU"}),
        **({"evidence": result.evidence} if result.evidence else {}),
        "precision": _precision(manifest.precision),
        "toolchain": ", ".join(f"{k} {v}" for k, v in sorted(manifest.toolchain.items())),
        "options": ", ".join(f"{k}={v}" for k, v in sorted(manifest.options.items())) or "none",
        "made from": f"onnx sha256 {manifest.exported}",
        "members": ", ".join(f"{n} {megabytes(m.bytes)}" for n, m in sorted(manifest.members.items())),
        "weights": megabytes(manifest.weights_bytes),
        **_predicted(manifest),
        **_contract(manifest.contract),
    }
    width = max(map(len, facts))
    return [f"{one_line(key).ljust(width)}  {one_line(value)}" for key, value in facts.items()]


def _predicted(manifest: Manifest) -> dict[str, str]:
    """How near the layers that have a prediction come to the core's peak, by their multiplications."""
    layers = [r for r in manifest.layers if r.batch == manifest.batches[0]]
    rows = [r for r in layers if r.predicted_us]
    if not rows:
        return {}
    cpu = manifest.target.cpu
    peak = 2 * cpu.clock_mhz * cpu.fma_pipes * cpu.vector_bits // 32  # FLOP per microsecond
    time, flops = sum(r.predicted_us or 0.0 for r in rows), sum(r.flops for r in rows)
    rest = f"; the other {len(layers) - len(rows)} have no prediction" if len(rows) < len(layers) else ""
    return {"predicted": f"{time / 1e3:.2f} ms on one core at {cpu.clock_mhz} MHz for {len(rows)} layers, "
                         f"{flops / time / peak:.0%} of its {peak / 1e3:.1f} GFLOP/s (Winograd counts as direct){rest}"}


def _by_threads(plan: PlanFacts) -> tuple[ThreadFacts, ...]:
    return plan.threads or (ThreadFacts(threads=1, arena_bytes=plan.arena_bytes, peak_bytes=plan.peak_bytes),)


def _fullest(plan: PlanFacts, peak: PeakFacts) -> str:
    """Why the arena is not as small as the network's tensors alone: its parts add up to all of it."""
    parts = {"of tensors": peak.tensors, "of padding to whole blocks": peak.padding, "of inputs kept for another run":
             peak.inputs, "of copies in another layout": peak.copies, "of workspaces": peak.workspaces,
             "of gaps": peak.gaps}
    shown = ", ".join(f"{megabytes(size)} {what}" for what, size in parts.items() if size)
    times = plan.arena_bytes / max(plan.tensors_peak_bytes, 1)
    return (f"batch {plan.batch}: fullest at layer {peak.layer}: {shown}; {times:.2f} times what the network's tensors "
            "alone take at most")


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


def _conversions(layers: tuple[Layer, ...]) -> list[str]:
    """Each conversion between layouts, with what the network would gain without it: its own time."""
    found = [layer for layer in layers if layer.algorithm == "convert"]
    if not found:
        return ["no conversion between layouts"]
    rows = [(c.index, c.batch, c.reason, megabytes(c.activation_bytes),
             f"{_figure(c.measured_us)} us measured" if c.measured_us is not None else
             f"{_figure(c.predicted_us)} us predicted" if c.predicted_us is not None else "-",
             " ".join(c.onnx_nodes)) for c in found]
    return [table(["conversion", "batch", "of layout", "bytes", "gain without it", "nodes"], rows), *_share(layers)]


def _share(layers: tuple[Layer, ...]) -> list[str]:
    """Where a batch size was profiled: how much of its time are conversions."""
    lines = []
    for batch in sorted({layer.batch for layer in layers}):
        times = [(layer.measured_us, layer.algorithm) for layer in layers if layer.batch == batch]
        whole = sum(us for us, _ in times if us is not None)
        if whole and all(us is not None for us, _ in times):
            own = sum(us or 0.0 for us, algorithm in times if algorithm == "convert")
            lines.append(f"batch {batch}: {_figure(own)} of {_figure(whole)} us measured are conversions, "
                         f"{own / whole:.2%}")
    return lines


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


_COLUMNS: dict[str, Callable[[Layer], object]] = {
    "layer": lambda r: r.index, "batch": lambda r: r.batch, "operator": lambda r: r.op,
    "algorithm": lambda r: r.algorithm, "layout": lambda r: r.layout, "precision": lambda r: r.precision,
    "weights": lambda r: megabytes(r.weight_bytes), "activations": lambda r: megabytes(r.activation_bytes),
    "MFLOP": lambda r: f"{r.flops / 1e6:.2f}", "us predicted at {clock} MHz": lambda r: _figure(r.predicted_us),
    "measured us": lambda r: _figure(r.measured_us), "error": lambda r: _figure(r.error),
    "nodes": lambda r: " ".join(r.onnx_nodes), "reason": lambda r: r.reason}
_ENGINES = ("tensorrt", "tensorrt-rtx")
_OF_CPUS = ("us predicted at {clock} MHz", "measured us", "error")
"""What is known of kernels for CPUs alone."""
