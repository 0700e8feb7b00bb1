"""Names and checksums of what is pushed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from edgecls.errors import DeviceError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,126}")


def check_names(files: Mapping[str, Path]) -> None:
    """Raises DeviceError for a name that is not a plain file name."""
    for name in files:
        if not _NAME.fullmatch(name):
            raise DeviceError(f"{name!r} cannot be the name of a file on a device",
                              "use letters, digits, '_', '.', '+' and '-', starting with none of the last three")


def sha256_of(file: IO[bytes]) -> str:
    """SHA-256, in hex, of the rest of an open file."""
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
