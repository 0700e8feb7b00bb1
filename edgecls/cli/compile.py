"""edgecls compile: its flags are the common ones plus those of the backend that is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecls.cli import options
from edgecls.cli.console import Console
from edgecls.cli.flags import flags_of, read_flags
from edgecls.cli.text import megabytes, one_line

_DEFAULT_BACKEND = "tvm"


class CompileCommand(click.Command):
    """Reads --backend first, because the other flags depend on it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["edgecls.backend"] = _peek(args, "--backend") or _DEFAULT_BACKEND
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from edgecls.backends.registry import get_backend
        from edgecls.passes.precision import PrecisionOptions

        name = ctx.meta.get("edgecls.backend", _DEFAULT_BACKEND)
        own = [*super().get_params(ctx), *flags_of(PrecisionOptions)]
        return [*own, *flags_of(get_backend(name).options_type, skip=tuple(p.name or "" for p in own))]


def _peek(args: list[str], flag: str) -> str | None:
    for this, after in zip(args, [*args, None][1:], strict=True):
        if this == "--":
            return None
        if this == flag:
            return after
        if this.startswith(f"{flag}="):
            return this.partition("=")[2]
    return None


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
    from edgecls.passes.precision import PrecisionOptions
    from edgecls.targets import load_target

    board = load_target(target)
    name = backend or _DEFAULT_BACKEND
    chosen = read_flags(get_backend(name).options_type, flags)
    precision = read_flags(PrecisionOptions, flags)
    with Console(quiet) as console:
        artifact = pipeline.compile_model(model, board, output, backend=name, options=chosen, precision=precision,
                                          batches=batches, progress=console.progress, note=console.note)
    click.echo(one_line(f"{output}: {megabytes(output.stat().st_size)} for {board.name}, "
                        f"sha256 {artifact.hash[:16]}"))
    for plan in artifact.manifest.plans:
        click.echo(f"  batch {plan.batch}: {plan.calls} kernel calls, {megabytes(plan.arena_bytes)} of activations, "
                   f"{megabytes(artifact.manifest.weights_bytes)} of weights")
