"""Flags are read off a frozen type; what was not given stays the type's default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import click
import msgspec
import pytest
from click.testing import CliRunner

from edgecls.cli.flags import add_flags, read_flags
from edgecls.cli.options import Batches
from edgecls.frozen import Frozen


class Options(Frozen):
    unroll: Annotated[int, msgspec.Meta(description="How far loops are unrolled.", ge=1, le=16)] = 4
    schedule: Literal["simple", "analytic"] = "simple"
    log: Annotated[Path | None, msgspec.Meta(description="Tuning records.")] = None
    winograd: Annotated[bool, msgspec.Meta(description="Allow Winograd.")] = True
    keep: Annotated[tuple[str, ...], msgspec.Meta(description="Nodes to keep.")] = ()
    budget: float | None = None
    hidden: int = 7


@click.command()
@click.pass_context
def command(ctx: click.Context, **values: object) -> None:
    ctx.exit(0) if ctx.obj is None else ctx.obj.append(read_flags(Options, values))


add_flags(Options, skip=("hidden",))(command)


@pytest.mark.parametrize(("arguments", "expected"), [
    ([], Options()),
    (["--unroll", "8", "--schedule", "analytic"], Options(unroll=8, schedule="analytic")),
    (["--no-winograd", "--log", "a/b"], Options(winograd=False, log=Path("a/b"))),
    (["--keep", "x", "--keep", "y", "--budget", "0.5"], Options(keep=("x", "y"), budget=0.5)),
])
def test_flags_make_the_options(arguments, expected):
    seen: list[Options] = []
    result = CliRunner().invoke(command, arguments, obj=seen)
    assert (result.exit_code, seen) == (0, [expected])


@pytest.mark.parametrize("arguments", [
    ["--unroll", "17"], ["--schedule", "magic"], ["--hidden", "1"], ["--budget", "x"],
])
def test_bounds_and_choices_are_the_types(arguments):
    assert CliRunner().invoke(command, arguments, obj=[]).exit_code == 2


def test_help_shows_description_and_default():
    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "How far loops are unrolled. Default: 4." in text
    assert "--winograd / --no-winograd Allow Winograd." in text


@pytest.mark.parametrize(("text", "batches"), [("1", (1,)), ("8,1", (1, 8)), ("4, 2,4", (2, 4))])
def test_batches_are_sorted(text, batches):
    assert Batches().convert(text, None, None) == batches


@pytest.mark.parametrize("text", ["", "0", "-1", "1,", "a", "4097", "1.5", "²"])
def test_wrong_batches_are_refused(text):
    with pytest.raises(click.BadParameter, match="batch sizes"):
        Batches().convert(text, None, None)
