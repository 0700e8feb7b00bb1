"""The folder of intermediate files: what a full disk there means to a user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecls.errors import OutputError


@contextmanager
def scratch_errors(folder: Path) -> Iterator[None]:
    """An OSError inside becomes an OutputError that says how to find room."""
    try:
        yield
    except OSError as error:
        raise scratch_error(folder, error.strerror or str(error)) from None


def scratch_error(folder: Path, reason: str) -> OutputError:
    return OutputError(f"{folder}: cannot be written: {reason}",
                       f"make room in {folder.parent}, or set TMPDIR to a folder that has room")
