"""edgecls finish"""

from __future__ import annotations

from pathlib import Path

import click

from edgecls.cli import options
from edgecls.cli.console import Console
from edgecls.cli.text import megabytes, one_line


@click.command(name="finish")
@options.bundle_argument
@options.device_option
@click.option("-o", "--output", type=options.FILE, help="The finished bundle. Default: BUNDLE itself, replaced.")
@options.quiet_option
def command(bundle: Path, device: str | None, output: Path | None, quiet: bool) -> None:
    """Build the engines of a bundle on the machine with its GPU.

    Needs TensorRT 10 or 11 there, and nothing else of edgecls when it is reached with --on ssh://.
    """
    from edgecls import pipeline
    from edgecls.cli.summary import plan_lines

    output = output or bundle
    with Console(quiet) as console:
        artifact = pipeline.finish(bundle, output, device=device, progress=console.progress)
    click.echo(one_line(f"{output}: {megabytes(output.stat().st_size)} for {artifact.manifest.target.name}, "
                        f"sha256 {artifact.hash[:16]}"))
    for line in plan_lines(artifact.manifest):
        click.echo(line)
