"""edgecls bench"""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from edgecls.cli import options
from edgecls.cli.console import Console, JsonOutput
from edgecls.types import MeasureSettings

_DEFAULT = MeasureSettings()


@click.command(name="bench")
@options.bundle_argument
@options.device_option
@options.threads_option
@options.timeout_option
@click.option("--batch", type=click.IntRange(1), default=_DEFAULT.batch, show_default=True,
              help="Which of the bundle's batch sizes.")
@click.option("--runs", type=click.IntRange(1), default=_DEFAULT.runs, show_default=True,
              help="Timed runs a repeat; not under emulation.")
@click.option("--warmup", type=click.IntRange(0), default=_DEFAULT.warmup, show_default=True,
              help="Untimed runs before each repeat; not under emulation.")
@click.option("--repeats", type=click.IntRange(2, 1000), default=_DEFAULT.repeats, show_default=True,
              help="Interleaved repeats; how far they differ is the noise band.")
@click.option("--strict", is_flag=True, help="Exit with code 2 when the measurement is INVALID.")
@options.json_option
@options.quiet_option
@click.pass_context
def command(ctx: click.Context, bundle: Path, device: str | None, threads: int, timeout: int | None, batch: int,
            runs: int, warmup: int, repeats: int, strict: bool, json_file: str | None, quiet: bool) -> None:
    """Measure a bundle's latency, or count instructions under emulation.

    A measurement that fails its own conditions says INVALID and why, and is still a result: exit code 0 without
    --strict.
    """
    from edgecls import pipeline
    from edgecls.cli.summary import measurement_lines
    from edgecls.results import InstructionResult

    output = JsonOutput(json_file, bundle)
    settings = MeasureSettings(batch=batch, warmup=warmup, runs=runs, repeats=repeats, threads=threads)
    with Console(quiet) as console:
        result = pipeline.bench(bundle, device=device, settings=settings, timeout=timeout,
                                progress=console.progress)
        if isinstance(result, InstructionResult):
            console.notes(f"--{name} has no effect under emulation: instructions are those of five runs less one"
                          for name in ("runs", "warmup")
                          if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE)
    output.say("\n".join(measurement_lines(result)))
    output.write(result)
    if strict and not result.valid:
        ctx.exit(2)
