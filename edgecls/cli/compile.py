"""edgecls compile: its flags are the common ones plus those of the backend that is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecls.cli import options
from edgecls.cli.console import Console
from edgecls.cli.flags import flags_of, read_flags
from edgecls.cli.text import megabytes, one_line
from edgecls.errors import EdgeclsError

_ANY_BACKEND = "tvm"


class CompileCommand(click.Command):
    """Reads --backend and --target first, because the other flags depend on them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["edgecls.backend"] = _peek(args, "--backend") or _suiting(_peek(args, "--target", "-t"))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from edgecls.backends.registry import get_backend
        from edgecls.passes.precision import PrecisionOptions

        name = ctx.meta.get("edgecls.backend", _ANY_BACKEND)
        own = [*super().get_params(ctx), *flags_of(PrecisionOptions)]
        return [*own, *flags_of(get_backend(name).options_type, skip=tuple(p.name or "" for p in own))]


def _peek(args: list[str], *flags: str) -> str | None:
    for this, after in zip(args, [*args, None][1:], strict=True):
        if this == "--":
            return None
        if this in flags:
            return after
        for flag in flags:
            if this.startswith(f"{flag}=" if flag.startswith("--") else flag):
                return this[len(flag):].removeprefix("=")
    return None


def _suiting(target: str | None) -> str:
    """The backend that suits the target; any, where there is none to read: what is wrong with it is said later."""
    from edgecls.pipeline import default_backend
    from edgecls.targets import load_target

    if target is None:
        return _ANY_BACKEND
    try:
        return default_backend(load_target(target))
    except EdgeclsError:
        return _ANY_BACKEND


@click.command(name="compile", cls=CompileCommand)
@options.model_argument
@options.target_option
@options.output_option("The bundle to write (.ecls).")
@options.batch_option("Batch sizes the bundle serves. Default: 1, or the model's own.")
@options.backend_option
@options.quiet_option
def command(model: Path, target: str, output: Path, batches: tuple[int, ...] | None, backend: str | None, quiet: bool,
            **flags: Any) -> None:
    """Compile an ONNX model into a bundle for a target.

    The options after --keep-sensitive are those of the backend.
    """
    from edgecls import pipeline
    from edgecls.backends.registry import get_backend
    from edgecls.cli.summary import plan_lines
    from edgecls.passes.precision import PrecisionOptions
    from edgecls.targets import load_target

    board = load_target(target)
    name = backend or pipeline.default_backend(board)
    chosen = read_flags(get_backend(name).options_type, flags)
    precision = read_flags(PrecisionOptions, flags)
    with Console(quiet) as console:
        artifact = pipeline.compile_model(model, board, output, backend=name, options=chosen, precision=precision,
                                          batches=batches, progress=console.progress, note=console.note)
    click.echo(one_line(f"{output}: {megabytes(output.stat().st_size)} for {board.name}, "
                        f"sha256 {artifact.hash[:16]}"))
    for line in plan_lines(artifact.manifest):
        click.echo(line)
    if not artifact.manifest.finished:
        click.echo(one_line(f"  no engine yet: build it on the device with the GPU: edgecls finish {output}"))
