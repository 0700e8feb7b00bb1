"""edgecls run"""

from __future__ import annotations

from pathlib import Path

import click

from edgecls.cli import options
from edgecls.cli.console import Console, JsonOutput
from edgecls.cli.text import one_line


@click.command(name="run")
@options.bundle_argument
@click.argument("images", type=options.FILE, nargs=-1, required=True, metavar="IMAGE...")
@options.device_option
@click.option("--top", type=click.IntRange(1, 1000), default=5, show_default=True, help="Classes to show.")
@options.threads_option
@options.timeout_option
@options.json_option
@options.quiet_option
def command(bundle: Path, images: tuple[Path, ...], device: str | None, top: int, threads: int, timeout: int | None,
            json_file: str | None, quiet: bool) -> None:
    """Classify images with a bundle; preprocessing runs where the network runs."""
    from edgecls import pipeline

    output = JsonOutput(json_file, bundle, *images)
    with Console(quiet) as console:
        result = pipeline.classify(bundle, images, device=device, threads=threads, top=top, timeout=timeout,
                                   progress=console.progress)
        console.notes(f"{a.image}: {a.note}" for a in result.images if a.note)
    for answer in result.images:
        output.say(one_line(answer.image))
        for place in answer.top:
            score = "" if place.score is None else f"{place.score:.2%}"
            output.say(f"  {score:>8}  {place.label}")
        if not answer.top:
            output.say("  no answer: the network's output is not finite")
    output.write(result)
