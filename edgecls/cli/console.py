"""What a person sees: results on stdout, everything else (stages, notes, errors) on stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from edgecls.cli.text import printable
from edgecls.frozen import encode_json
from edgecls.output import check_writable, write_beside

_LINE_EVERY_SECONDS = 2.0
_COUNT_EVERY_LINES = 5


class Console:
    """A context manager whose `progress` is handed to long work.

    On a terminal it draws a bar, elsewhere it writes where it is every two seconds, so that quick work stays silent.
    `quiet` silences both, and the notes.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._display: _Bar | _Lines | None = None

    def __enter__(self) -> Console:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop()

    def progress(self, stage: str, done: int, total: int) -> None:
        """edgecls.interfaces.Progress."""
        if self.quiet:
            return
        if self._display is None:
            self._display = _Bar() if sys.stderr.isatty() else _Lines()
        self._display.show(stage, done, total)

    def note(self, text: str) -> None:
        """Something the user should know, on stderr."""
        if not self.quiet:
            self._stop()
            click.echo(printable(text), err=True)

    def notes(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.note(f"note: {text}")

    def _stop(self) -> None:
        if self._display is not None:
            self._display.stop()
        self._display = None


class _Bar:
    def __init__(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bar = Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(),
                             MofNCompleteColumn(), TimeElapsedColumn(), console=RichConsole(stderr=True),
                             transient=True)
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def show(self, stage: str, done: int, total: int) -> None:
        self._bar.update(self._task, description=printable(stage), completed=done, total=total or None)

    def stop(self) -> None:
        self._bar.stop()


class _Lines:
    """A thread, because the work that should be heard of may not call again for a minute."""

    def __init__(self) -> None:
        self._now = ("", 0, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def show(self, stage: str, done: int, total: int) -> None:
        self._now = (stage, done, total)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _write(self) -> None:
        written, silent = ("", 0, 0), 0
        while not self._over.wait(_LINE_EVERY_SECONDS):
            now, silent = self._now, silent + 1
            if now[0] != written[0] or (now != written and silent >= _COUNT_EVERY_LINES):
                written, silent = now, 0
                stage, done, total = now
                click.echo(f"  {printable(stage)}" + (f" ({done} of {total})" if total > 1 else ""), err=True)


class JsonOutput:
    """Where `--json` goes: a file, "-" for stdout, or nowhere. Unwritable places are refused at once."""

    def __init__(self, destination: str | None, *inputs: Path | None) -> None:
        self._destination = destination
        if destination not in (None, "-"):
            check_writable(Path(str(destination)), inputs)

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
            click.echo(printable(text))
