"""A Report as one HTML file that needs nothing else: pictures where people look, tables where they read."""

from __future__ import annotations

from edgecls.report.plot import comparison_svg, latency_svg
from edgecls.report.render import MAX_ROWS, left_out
from edgecls.report.tables import Table, measurements, shown, tables
from edgecls.report.text import html_text
from edgecls.results import Comparison, LatencyResult, Report

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid #8885; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.bad, .invalid { color: #c22; font-weight: bold; fill: #c22; }
svg { max-width: 48rem; width: 100%; font: 12px system-ui, sans-serif; fill: currentColor; }
.tick { text-anchor: end; } .invalid { font-size: 20px; text-anchor: middle; }
.middle { text-anchor: middle; } .curve { fill: none; stroke-width: 2; }
.axis { stroke: currentColor; } .grid { stroke: #8883; } .bar { fill: #8888; }
.p50 { stroke: currentColor; stroke-width: 1.2; } .p90 { stroke: currentColor; stroke-dasharray: 4 3; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_html(report: Report) -> bytes:
    """Runs no script and loads nothing. At most MAX_ROWS rows of a table are shown."""
    body = ["<h1>edgecls report</h1>", f"<p>{len(report.results)} results, edgecls {html_text(report.edgecls)}.</p>"]
    for name, result in measurements(report):
        if isinstance(result, LatencyResult):
            body += [f"<h2>{html_text(name)}</h2>", latency_svg(name, result)]
            if not result.valid:
                body.append(f'<p><span class="bad">INVALID</span>: {html_text("; ".join(result.reasons))}</p>')
    for named in report.results:
        if isinstance(named.result, Comparison):
            entries = [(e.name, e.measurement) for e in named.result.entries]
            times = [(name, m) for name, m in entries if isinstance(m, LatencyResult)]
            if times:
                body += [f"<h2>{html_text(named.name)}</h2>", comparison_svg(named.name, times)]
    body += [part for table in tables(report) for part in _table(table)]
    page = ['<!DOCTYPE html>', '<html lang="en">', "<head>", '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width">', "<title>edgecls report</title>",
            f"<style>{_STYLE}</style>", "</head>", "<body>", *body, "</body>", "</html>", ""]
    return "\n".join(page).encode()


def _table(table: Table) -> list[str]:
    head = "".join(f'<th scope="col">{html_text(c.title)}</th>' for c in table.columns)
    lines = [f"<h2>{html_text(table.title)}</h2>", "<table>", f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for row in table.rows[:MAX_ROWS]:
        cells = []
        for column in table.columns:
            cell = row.get(column.key)
            bad = isinstance(cell, str) and cell.startswith(("INVALID", "FAIL")) and column.key in _VERDICTS
            kind = ' class="bad"' if bad else ' class="number"' if isinstance(cell, (int, float)) else ""
            cells.append(f"<td{kind}>{html_text(shown(cell, column))}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return [*lines, "</tbody>", "</table>", *(f"<p>{html_text(s)}</p>" for s in (*left_out(table), *table.legend))]


_VERDICTS = ("status", "verdict", "gate")
