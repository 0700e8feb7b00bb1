"""Results as documents. Pure functions over values of edgecls.results."""

from edgecls.errors import OutputError
from edgecls.report.build import build_report, load_results
from edgecls.report.page import render_html
from edgecls.report.render import render_csv, render_json, render_markdown
from edgecls.results import Report

RENDERERS = {".md": render_markdown, ".csv": render_csv, ".json": render_json, ".html": render_html}


def render(report: Report, suffix: str) -> bytes:
    """The form that a file name's suffix asks for. Raises OutputError for another."""
    if suffix.lower() not in RENDERERS:
        raise OutputError(f"a report cannot be written as {suffix or 'a file without a suffix'!r}",
                          f"give a file name that ends in {', '.join(RENDERERS)}")
    return RENDERERS[suffix.lower()](report)


__all__ = ["RENDERERS", "build_report", "load_results", "render", "render_csv", "render_html", "render_json",
           "render_markdown"]
