"""The weights of a bundle, written to their file as they come: a large network's never lie in memory a second time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgecls.backends.tvm.align import align
from edgecls.backends.tvm.scratch import scratch_errors
from edgecls.types import Array

# numbers that are looked at together, so that looking takes no memory of a large array's size
_PIECE = 1 << 20


class WeightStore:
    """All constants, each content once, at 64-byte boundaries; shared by the plans of all batch sizes.

    A context: when it is left, the file is complete and `bytes` and `sha256` are those of the whole file. Raises
    OutputError when the file's folder has no room.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.bytes = path, 0
        self._digest = hashlib.sha256()
        self._known: dict[tuple[int, bytes], int] = {}
        self._sizes: dict[int, int] = {}
        with scratch_errors(path.parent):
            self._file = path.open("wb")

    def __enter__(self) -> WeightStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        with scratch_errors(self.path.parent):
            self._file.close()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def add(self, array: Any) -> int:
        """Offset of the array's bytes. They are followed by zeros up to the next boundary."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        key = (data.nbytes, hashlib.sha256(data).digest())
        if key not in self._known:
            self._known[key] = self.bytes
            self._sizes[self.bytes] = data.nbytes
            padding = bytes(align(data.nbytes) - data.nbytes)
            with scratch_errors(self.path.parent):
                for piece in (data, padding):
                    self._file.write(piece)
                    self._digest.update(piece)
            self.bytes += align(data.nbytes)
        return self._known[key]

    def size(self, offset: int) -> int:
        """Bytes of what was added there."""
        return self._sizes[offset]


def without_subnormals(array: Array) -> Array:
    """float32 below 2^-126 as zeros: a product with one takes a core some hundred cycles, and is nothing beside those
    with other weights unless what it multiplies is beyond 10^30. An array without any is returned as it is."""
    if array.dtype != np.float32:
        return array
    flat, least = np.ascontiguousarray(array).reshape(-1), np.finfo(np.float32).tiny
    pieces = (flat[start:start + _PIECE] for start in range(0, flat.size, _PIECE))
    if not any(((piece != 0) & (np.abs(piece) < least)).any() for piece in pieces):
        return array
    return np.where(np.abs(array) < least, np.float32(0), array)
