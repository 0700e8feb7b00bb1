"""What a person sees: results on stdout, everything else (stages, notes, errors) on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from edgecls.frozen import encode_json
from edgecls.output import check_writable, write_beside

_SHOW_AFTER_SECONDS = 0.5


class Console:
    """A context manager whose `progress` is handed to long work.

    On a terminal it draws a bar per stage, elsewhere it writes one line per stage; `quiet` silences both and the notes.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._stage = ""
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty() and not quiet

    def __enter__(self) -> Console:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    def progress(self, stage: str, done: int, total: int) -> None:
        """edgecls.interfaces.Progress."""
        if self.quiet:
            return
        new, self._stage = stage != self._stage, stage
        if not self._terminal:
            if new:
                click.echo(f"  {stage}", err=True)
            return
        if self._bar is None:
            self._bar = _make_bar()
            self._bar.start()
        if new:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(stage, total=total or None)
        self._bar.update(self._task, completed=done, total=total or None)

    def stop(self) -> None:
        """Take the bar away, so that results can be printed."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None
        self._stage = ""

    def note(self, text: str) -> None:
        """Something the user should know, on stderr."""
        if not self.quiet:
            self.stop()
            click.echo(text, err=True)

    def notes(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.note(f"note: {text}")


def _make_bar() -> Any:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                    TimeElapsedColumn(), console=RichConsole(stderr=True), transient=True)


class JsonOutput:
    """Where `--json` goes: a file, "-" for stdout, or nowhere. Unwritable places are refused at once."""

    def __init__(self, destination: str | None) -> None:
        self._destination = destination
        if destination not in (None, "-"):
            check_writable(Path(str(destination)))

    @property
    def owns_stdout(self) -> bool:
        """With `--json -` nothing else may be written to stdout."""
        return self._destination == "-"

    def write(self, value: Any) -> None:
        """value: a Frozen or plain JSON data. Raises OutputError."""
        if self._destination is None:
            return
        data = encode_json(value, indent=True)
        if self.owns_stdout:
            click.echo(data, nl=False)
        else:
            write_beside(Path(self._destination), [data])

    def say(self, text: str) -> None:
        """A result for people, unless stdout is taken by JSON."""
        if not self.owns_stdout:
            click.echo(text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Plain columns, numbers to the right."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(head), *cells]) for i in range(len(head))]
    numeric = [bool(cells) and all(_is_number(r[i]) for r in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)).rstrip()

    return "\n".join([line(head), line(["-" * w for w in widths]), *map(line, cells)])


def _is_number(text: str) -> bool:
    return text in ("", "-") or text.replace(".", "", 1).replace(",", "").rstrip(" %").isdigit()


def megabytes(count: int) -> str:
    """Bytes for people: "18.7 MB" (10^6)."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
