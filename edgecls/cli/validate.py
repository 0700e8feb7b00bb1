"""edgecls validate"""

from __future__ import annotations

from pathlib import Path

import click

from edgecls.cli import options
from edgecls.cli.console import Console, JsonOutput
from edgecls.types import Gate


@click.command(name="validate")
@options.bundle_argument
@click.option("--data", type=options.FILE, required=True, metavar="DIR|CSV",
              help="A folder per class, or a CSV with the columns path and label (several labels joined by |).")
@click.option("--reference", type=options.FILE, metavar="ONNX", help="Compare with ONNX Runtime on this model.")
@options.device_option
@options.threads_option
@options.timeout_option
@options.limit_option
@click.option("--min-top1", type=options.Fraction(), help="Fail (exit code 2) under this accuracy.")
@click.option("--min-agreement", type=options.Fraction(), help="Fail under this agreement with the reference.")
@click.option("--max-logit-difference", type=options.Finite(0), metavar="RATIO",
              help="Fail over this difference to the reference, relative to its logit range.")
@options.json_option
@options.quiet_option
@click.pass_context
def command(ctx: click.Context, bundle: Path, data: Path, reference: Path | None, device: str | None, threads: int,
            timeout: int | None, limit: int | None, min_top1: float | None, min_agreement: float | None,
            max_logit_difference: float | None, json_file: str | None, quiet: bool) -> None:
    """Measure a bundle's accuracy against labels and ONNX Runtime."""
    output = JsonOutput(json_file, bundle, data, reference)
    gate = Gate(min_top1=min_top1, min_agreement=min_agreement, max_relative_logit_difference=max_logit_difference)
    if reference is None and (min_agreement is not None or max_logit_difference is not None):
        raise click.UsageError("--min-agreement and --max-logit-difference need --reference model.onnx")
    from edgecls import pipeline
    from edgecls.cli.summary import accuracy_lines

    with Console(quiet) as console:
        result = pipeline.validate(bundle, data, reference=reference, device=device, threads=threads, timeout=timeout,
                                   limit=limit, gate=gate, progress=console.progress, note=console.note)
    output.say("\n".join(accuracy_lines(result)))
    output.write(result)
    if result.gate is not None and not result.gate.passed:
        ctx.exit(2)
