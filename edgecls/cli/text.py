"""Plain text for people: tables, sizes, and names made safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Plain columns, numbers to the right. A cell is one line and steers no terminal, wherever its text is from."""
    cells = [[one_line(str(c)) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(head), *cells]) for i in range(len(head))]
    numeric = [bool(cells) and all(_is_number(r[i]) for r in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)).rstrip()

    return "\n".join([line(head), line(["-" * w for w in widths]), *map(line, cells)])


def _is_number(text: str) -> bool:
    return text in ("", "-") or text.replace(".", "", 1).replace(",", "").rstrip(" %").isdigit()


def printable(text: str) -> str:
    """Names come from files: no control character of theirs reaches the terminal. Line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """`printable`, with line breaks escaped as well: for what must not look like a line of edgecls's own."""
    return printable(text).replace("\n", "\\n")


def megabytes(count: int) -> str:
    """Bytes for people: "18.7 MB" (10^6)."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
