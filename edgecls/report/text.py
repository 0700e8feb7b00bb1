"""Text that came from outside, made harmless before it enters a document."""

from __future__ import annotations

import html
import re
import unicodedata

_MARKDOWN = re.compile(r"([\\`*_\[\]<>#!|~&$@])|(?<=:)(//)|(?<=\bwww)(\.)", re.IGNORECASE)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four: full width


def plain(text: str) -> str:
    """One line: white space becomes a blank; control, direction and unpaired surrogate characters become U+FFFD."""
    text = "".join(" " if c.isspace() else c for c in text)
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text)


def markdown(text: str) -> str:
    """Text that shows itself in a Markdown table, on GitHub too: no markup, no link."""
    return _MARKDOWN.sub(lambda m: "".join(f"\\{c}" for c in m.group()), plain(text))


def html_text(text: str) -> str:
    return html.escape(plain(text), quote=True)


def csv_text(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: an apostrophe in front of what looks like one."""
    text = plain(text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
