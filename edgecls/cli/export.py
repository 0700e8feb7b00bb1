"""edgecls export"""

from __future__ import annotations

from pathlib import Path

import click

from edgecls.cli import options
from edgecls.cli.console import Console
from edgecls.cli.text import megabytes, one_line


@click.command(name="export")
@click.argument("source")
@options.output_option("The ONNX file to write.")
@click.option("--weights", metavar="FILE|pretrained", help="A plain state_dict, or what the model zoo publishes. "
                                                           "Default: random weights.")
@click.option("--input-size", metavar="N|HxW", help="Pixels the network takes. Default: its own.")
@click.option("--preprocess", metavar="NAME|FILE", help="A preset (imagenet, inception...) or a JSON file.")
@click.option("--labels", metavar="NAME|FILE", help="imagenet, or a text file with a line for each class.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="For random weights.")
@options.quiet_option
def command(source: str, output: Path, weights: str | None, input_size: str | None, preprocess: str | None,
            labels: str | None, seed: int, quiet: bool) -> None:
    """Turn a trained model into ONNX with its contract, and verify it against its framework.

    SOURCE is timm:NAME, torchvision:NAME, hf:NAME, a .pt2 file, your own module:factory, or an .onnx file.
    """
    from edgecls import pipeline
    from edgecls.frontend import ExportOptions, parse_size

    chosen = ExportOptions(weights=weights, input_size=parse_size(input_size) if input_size else None,
                           preprocess=preprocess, labels=labels, seed=seed)
    with Console(quiet) as console:
        graph = pipeline.export_model(source, output, chosen, progress=console.progress, note=console.note)
    checked = ("" if graph.max_difference is None
               else f", differs from its framework by {graph.max_difference:.2g} at most")
    click.echo(one_line(f"{output}: {megabytes(len(graph.onnx))} from {graph.source}{checked}"))
