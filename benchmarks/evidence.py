"""A committed result: JSON rows with where they come from, a Markdown table beside it, written anew after every row.

A run that was interrupted goes on where it stopped. Rows made by other versions or on another machine are dropped.
"""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from edgecls.cli.doctor import BASE, PINNED
from edgecls.devices import LocalDevice
from edgecls.frozen import content_hash, encode_json, sha256
from edgecls.output import check_writable, write_beside
from edgecls.runtime.build import C_FOLDER

ROOT = Path(__file__).parents[1]
CODE = ("edgecls", "targets", "benchmarks/*.py", "benchmarks/*.c", "pyproject.toml")
"""What a result depends on; commits of anything else (documents, results) do not make one old."""
_MACHINE = ("machine", "cpu_model", "cores", "memory_total_mb", "kernel", "os", "libc", "governor")

Row = dict[str, Any]


class Column(NamedTuple):
    title: str
    cell: Callable[[Row], object]


class Evidence:
    """path: the JSON file; its table gets the suffix .md. identity: the keys that tell rows apart. sections: lines of
    Markdown that follow the table. packages: what made the rows beside what edgecls always needs."""

    def __init__(self, path: Path, *, title: str, legend: Sequence[str], columns: Sequence[Column],
                 identity: Sequence[str], sections: Callable[[Sequence[Row]], Sequence[str]] = lambda rows: (),
                 packages: Sequence[str] = ()) -> None:
        """Raises OutputError when `path` cannot be written."""
        check_writable(path)
        self._path, self._title, self._legend = path, title, tuple(legend)
        self._columns, self._identity, self._sections = tuple(columns), tuple(identity), sections
        self._head: dict[str, dict[str, Any]] = {"versions": versions(packages), "machine": machine()}
        try:
            self.rows = self._together(self._read())
            self._markdown()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            say(f"{self._path}: is damaged, or was made by an older form of this command: begun anew")
            self.rows = []

    def find(self, **known: object) -> Row | None:
        """The row that has all these values."""
        return next((row for row in self.rows if all(row.get(k) == v for k, v in known.items())), None)

    def put(self, row: Row) -> None:
        """Add `row`, as made by this command at this commit, in place of the one with its identity; write the files."""
        row = {**row, "command": command(), "commit": commit()}
        same = [i for i, old in enumerate(self.rows) if all(old.get(k) == row[k] for k in self._identity)]
        if same:
            self.rows[same[0]] = row
        else:
            self.rows = self._together([*self.rows, row])
        self.write()

    def write(self) -> None:
        """Raises OutputError."""
        write_beside(self._path, [encode_json(
            {"title": self._title, "legend": self._legend, **self._head, "rows": self.rows}, indent=True)])
        write_beside(self._path.with_suffix(".md"), [self._markdown().encode()])

    def _read(self) -> list[Row]:
        try:
            known = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return []
        if {key: known.get(key) for key in self._head} != self._head:
            say(f"{self._path}: was made by other versions or on another machine: begun anew")
            return []
        return list(known["rows"])

    def _together(self, rows: Sequence[Row]) -> list[Row]:
        """Those of one network, or whatever comes first in the identity, side by side."""
        first = dict.fromkeys(row[self._identity[0]] for row in rows)
        return [row for value in first for row in rows if row[self._identity[0]] == value]

    def _markdown(self) -> str:
        rows = [[str(c.cell(row)).replace("|", "\\|").replace("\n", " ") for c in self._columns] for row in self.rows]
        known = [[key, str(value)] for key, value in self._head["machine"].items() if value is not None]
        lines = [f"# {self._title}", "", *(line for text in self._legend for line in (text, "")),
                 *markdown_table([c.title for c in self._columns], rows), "", *self._sections(self.rows),
                 f"Made by {self._all('command', '`')} at commit {self._all('commit')}.", "",
                 *markdown_table(["machine", ""], known), "",
                 *markdown_table(["package", "version"], [[k, v] for k, v in self._head["versions"].items()])]
        return "\n".join(lines) + "\n"

    def _all(self, key: str, quote: str = "") -> str:
        return ", ".join(f"{quote}{value}{quote}" for value in dict.fromkeys(row[key] for row in self.rows))


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Of Python, everything edgecls needs to compile and compare, and `packages`."""
    return {"python": platform.python_version(),
            **{name: metadata.version(name) for name in (*BASE, *PINNED, *packages)}}


def machine() -> dict[str, Any]:
    """What this machine says of itself and that does not change from minute to minute."""
    facts = LocalDevice().facts()
    return {key: getattr(facts, key) for key in _MACHINE}


def commit() -> str:
    """The last commit that changed CODE, "+changes" when files differ from it; "unknown" outside a clone."""
    try:
        found = _git("log", "-1", "--format=%H", "--", *CODE)
        return found + ("+changes" if _git("status", "--porcelain", "--", *CODE) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def command() -> str:
    """The command line of this process, as it is repeated."""
    spec = sys.modules["__main__"].__spec__
    name = ["-m", spec.name.removesuffix(".__main__")] if spec else [Path(sys.argv[0]).name]
    return shlex.join(["python", *name, *sys.argv[1:]])


def runtime_hash() -> str:
    """Changes with the C runtime. A row with the same bundle and the same runtime need not be executed again."""
    files = sorted(p for p in C_FOLDER.rglob("*.[ch]"))
    return content_hash([[str(p.relative_to(C_FOLDER)), sha256(p.read_bytes())] for p in files])


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _git(*args: str) -> str:
    return subprocess.run(["git", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (titles, ["---"] * len(titles), *rows)]
