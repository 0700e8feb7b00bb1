"""A Report as JSON, CSV or Markdown. Pure functions: the same report gives the same bytes."""

from __future__ import annotations

import csv
import io

from edgecls.frozen import encode_json
from edgecls.report import text
from edgecls.report.tables import Table, shown, tables
from edgecls.results import Report

MAX_ROWS = 200  # of one table in a document for people


def render_json(report: Report) -> bytes:
    """Whole results, per-image rows and raw samples included."""
    return encode_json(report, indent=True)


def render_csv(report: Report) -> bytes:
    """One wide table, UTF-8 with \\n: the first column names the kind of row, and a cell that a row has not is empty.
    Numbers are in full precision and in the units of the JSON.
    """
    made = tables(report)
    keys = dict.fromkeys(c.key for t in made for c in t.columns)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", *keys])
    for table in made:
        for row in table.rows:
            cells = (row.get(k) for k in keys)
            writer.writerow([table.title, *(text.csv_text(c) if isinstance(c, str) else c for c in cells)])
    return out.getvalue().encode()


def render_markdown(report: Report) -> bytes:
    """Tables for people; at most MAX_ROWS rows each."""
    parts = ["# edgecls report", f"{len(report.results)} results, edgecls {text.markdown(report.edgecls)}."]
    parts += [part for table in tables(report) for part in _markdown_table(table)]
    return ("\n\n".join(parts) + "\n").encode()


def _markdown_table(table: Table) -> list[str]:
    lines = [_line([c.title for c in table.columns]), "|" + " --- |" * len(table.columns)]
    for row in table.rows[:MAX_ROWS]:
        cells = [text.markdown(shown(row.get(c.key), c)) for c in table.columns]
        lines.append(_line([f"**{c}**" if c in ("INVALID", "FAIL") else c for c in cells]))
    return [f"## {table.title}", "\n".join(lines), *left_out(table), *table.legend]


def left_out(table: Table) -> list[str]:
    """The sentence that owns up to rows a document for people does not show."""
    more = len(table.rows) - MAX_ROWS
    return [f"{more} more rows are in the JSON and CSV reports."] if more > 0 else []


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
