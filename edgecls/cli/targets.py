"""edgecls targets"""

from __future__ import annotations

import contextlib

import click
import msgspec

from edgecls.cli import options
from edgecls.cli.console import Console
from edgecls.cli.text import printable, table


@click.command(name="targets")
@click.argument("name", required=False, metavar="[NAME|FILE]")
@options.quiet_option
def command(name: str | None, quiet: bool) -> None:
    """List the targets, or show one with the source of each number."""
    from edgecls.errors import TargetError
    from edgecls.targets import list_targets, load_target, native_target

    if name is None:
        boards = list_targets()
        # a machine edgecls has no words for can still compile for others
        with Console(quiet) as console, contextlib.suppress(TargetError):
            console.progress("describing this machine", 0, 0)
            boards.append(native_target())
        click.echo(table(["target", "cpu", "cores", "memory", "gpu", "description"],
                         [(t.name, f"{t.cpu.arch} {t.cpu.name}", t.cpu.cores, f"{t.memory_mb} MB",
                           f"sm_{t.gpu.compute_capability.replace('.', '')}" if t.gpu else "", t.description)
                          for t in boards]))
        return
    target = load_target(name)
    click.echo(printable(target.description))
    click.echo(table(["key", "value", "source"], _rows(msgspec.to_builtins(target), "", target.sources)))


def _rows(values: dict[str, object], prefix: str, sources: dict[str, str]) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for key, value in values.items():
        path = prefix + key
        if path in ("sources", "description") or value is None:
            continue
        if isinstance(value, dict):
            rows += _rows(value, f"{path}.", sources)
        else:
            text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append((path, text, _source(path, sources)))
    return rows


def _source(path: str, sources: dict[str, str]) -> str:
    """The document that `path`, or the table it stands in, comes from."""
    while path and path not in sources:
        path = path.rpartition(".")[0]
    return sources.get(path, "")
