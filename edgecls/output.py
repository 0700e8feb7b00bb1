"""Results appear whole or not at all: written beside their destination, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecls.errors import OutputError

_ADVICE = "check that the folder exists, is writable and has room"


def write_beside(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write `chunks` to a temporary file next to `path`, fsync, rename. Raises OutputError and leaves nothing.

    What `path` was is replaced, a symbolic link itself and not what it points to. Permissions follow the umask.
    """
    _refuse_special(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    created = False
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        created = True
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        created = False
    except (OSError, ValueError) as error:  # ValueError: a name no file can have
        raise OutputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}", _ADVICE) from None
    finally:
        if created:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextmanager
def work_folder() -> Iterator[Path]:
    """A fresh folder for intermediate files, removed at the end. Raises OutputError when none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="edgecls-")
    except OSError as error:
        raise OutputError(f"no temporary folder can be made: {error.strerror or error}",
                          "set TMPDIR to a writable folder with room") from None
    with folder as name:
        yield Path(name)


def check_writable(path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse early, before long work, what write_beside would refuse, and what would replace an input.

    Raises OutputError.
    """
    _refuse_special(path)
    for given in inputs:
        with contextlib.suppress(OSError, ValueError):  # one of them does not exist
            if given is not None and path.samefile(given):
                raise OutputError(f"{path}: is the input {given}, which would be lost", "choose another name")
    try:
        exists = path.parent.is_dir()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}", _ADVICE) from None
    if not exists:
        raise OutputError(f"{path}: the folder {path.parent} does not exist", "create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {path.parent} is not writable", "choose another folder")


def _refuse_special(path: Path) -> None:
    """A rename would replace /dev/null itself, or the link /dev/stdout, and cannot replace a folder. Whoever writes "-"
    means standard output."""
    if str(path) == "-":
        raise OutputError("-: results are written to files, not to standard output", "give the name of a file")
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):
        return  # it does not exist, or writing will say what is wrong
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path}: is a folder", "give the name of a file")
    # the folder decides, not what a link leads to: /dev/stdout may lead to an ordinary file
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) or path.parent.resolve() == Path("/dev"):
        raise OutputError(f"{path}: is a device or a pipe, not a file", "give the name of a file")
