"""Reading what a user names: regular files only, and never more than was meant to be read."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def read_regular(path: Path, limit: int) -> bytes:
    """The whole file, at most `limit` bytes. Raises OSError, its strerror in words, also for what is no plain file.

    A pipe would block, a device never end; opening either can already have an effect.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))
    if status.st_size <= limit:
        with path.open("rb") as file:
            data = file.read(limit + 1)  # it may have grown, and /proc says 0 of everything
        if len(data) <= limit:
            return data
    raise OSError(errno.EFBIG, f"it is larger than {limit >> 20} MiB", str(path))
