"""edgecls report"""

from __future__ import annotations

from pathlib import Path

import click

from edgecls.cli import options
from edgecls.cli.console import Console
from edgecls.cli.text import one_line


@click.command(name="report")
@click.argument("results", type=options.FILE, nargs=-1, required=True, metavar="RESULT.json...")
@options.output_option("Where to: the suffix .md, .html, .csv or .json decides the form.")
@options.quiet_option
def command(results: tuple[Path, ...], output: Path, quiet: bool) -> None:
    """Put result files together into one report; nothing is measured again."""
    from edgecls import pipeline

    with Console(quiet) as console:
        console.progress("building the report", 0, 0)
        pipeline.report(results, output)
    click.echo(one_line(f"{output}: {len(results)} result(s)"))
