"""edgecls check"""

from __future__ import annotations

from pathlib import Path

import click

from edgecls.cli import options
from edgecls.cli.console import Console, JsonOutput
from edgecls.cli.text import table


@click.command(name="check")
@options.model_argument
@options.target_option
@options.backend_option
@options.batch_option("Batch sizes to check. Default: 1, or the model's own.")
@options.json_option
@options.quiet_option
@click.pass_context
def command(ctx: click.Context, model: Path, target: str, backend: str | None, batches: tuple[int, ...] | None,
            json_file: str | None, quiet: bool) -> None:
    """Name the nodes that a target cannot run, before compiling.

    Ends with exit code 2 when there are any.
    """
    from edgecls import pipeline
    from edgecls.targets import load_target

    output = JsonOutput(json_file, model)
    board = load_target(target)
    with Console(quiet) as console:
        result = pipeline.check_model(model, board, backend=backend, batches=batches, progress=console.progress,
                                      note=console.note)
    output.write(result)
    if result.supported:
        output.say(f"{model}: every node runs on {board.name}")
        return
    output.say(table(["node", "operator", "reason"], [(u.node, u.op, u.reason) for u in result.unsupported]))
    output.say(f"{model}: {len(result.unsupported)} node(s) cannot run on {board.name}")
    ctx.exit(2)
