"""Every option that more than one command takes, declared once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Batches(click.ParamType[tuple[int, ...]]):
    """"8,1" -> (1, 8)."""

    name = "N,N..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(re.fullmatch(r"\s*0*[0-9]{1,4}\s*", p) and 1 <= int(p) <= 4096 for p in parts):
            self.fail(f"{value!r}: give batch sizes from 1 to 4096, separated by commas, such as 1,8", param, ctx)
        return tuple(sorted({int(p) for p in parts}))


class Finite(click.FloatRange):
    """No comparison with NaN ever fails, nor one with infinity: a limit must be a number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number


class Fraction(Finite):
    """0.95 or 95%."""

    name = "FRACTION"

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value)
        if text.endswith("%"):
            try:
                value = float(text[:-1]) / 100
            except ValueError:
                self.fail(f"{text!r} is not a fraction such as 0.95 or 95%", param, ctx)
        return super().convert(value, param, ctx)

    def _describe_range(self) -> str:
        return "0 to 1"


FILE = click.Path(path_type=Path)

model_argument = click.argument("model", type=FILE)
bundle_argument = click.argument("bundle", type=FILE)
target_option = click.option("--target", "-t", required=True, metavar="NAME|FILE",
                             help="The board: a name of `edgecls targets`, or a TOML file of your own.")
device_option = click.option("--on", "device", metavar="DEVICE",
                             help="Where it runs: local, qemu or ssh://user@host[:port]. "
                                  "Default: local when this machine runs the target's code, else qemu.")
threads_option = click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True,
                              help="Threads that share one inference.")
timeout_option = click.option("--timeout", type=click.IntRange(1, 1_000_000), metavar="SECONDS",
                              help="Give up when the device has been silent for so long. Default: 1800.")
limit_option = click.option("--limit", type=click.IntRange(1), metavar="N",
                            help="Use N images only, the same ones each time, spread evenly over the classes.")
json_option = click.option("--json", "json_file", metavar="FILE", type=click.Path(allow_dash=True),
                           help="Write the result as JSON; - for stdout. docs/schema.json describes it.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress and no notes; results and errors only.")
backend_option = click.option("--backend", metavar="NAME", help="How it is compiled. Default: what suits the target.")


def output_option(what: str, required: bool = True) -> Callable[[Command], Command]:
    return click.option("-o", "--output", type=FILE, required=required, help=what)


def batch_option(what: str) -> Callable[[Command], Command]:
    return click.option("--batch", "batches", type=Batches(), metavar="N,N...", help=what)
