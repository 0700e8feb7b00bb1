"""Calibration images, from a folder to what the network is fed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgecls.contract import Contract
from edgecls.errors import DataError
from edgecls.interfaces import Progress
from edgecls.preprocess import decode_image, preprocess
from edgecls.types import Array

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp"})
MAX_IMAGES = 2_000


class CalibrationImages:
    """The images under a folder, in the order of their paths: at most MAX_IMAGES, spread evenly. Raises DataError."""

    def __init__(self, folder: Path, contract: Contract) -> None:
        self._input = contract.image_input
        if not folder.is_dir():
            raise DataError(f"{folder}: is not a folder of images", "give a folder: --calibrate FOLDER")
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise DataError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))})",
                            "give a folder with some hundred images like those the network will see")
        step = max(1.0, len(found) / MAX_IMAGES)
        self.paths: Sequence[Path] = [found[int(i * step)] for i in range(min(len(found), MAX_IMAGES))]

    @property
    def hash(self) -> str:
        """SHA-256 over the SHA-256 of each file: which images they were, whatever they are called."""
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def feeds(self, batch: int, progress: Progress) -> Iterator[dict[str, Array]]:
        """Every image once, `batch` at a time; the last feed is filled up with the first images."""
        tensors: list[Array] = []
        for done, path in enumerate(self.paths):
            progress("calibrating", done, len(self.paths))
            tensors.append(self._tensor(path))
            if len(tensors) == batch:
                yield {self._input.name: np.concatenate(tensors)}
                tensors = []
        if tensors:
            again = [self._tensor(self.paths[i % len(self.paths)]) for i in range(batch - len(tensors))]
            yield {self._input.name: np.concatenate([*tensors, *again])}

    def _tensor(self, path: Path) -> Array:
        return preprocess(decode_image(path, self._input), self._input)
