"""Labelled images: a folder per class, or a CSV with the columns path and label.

A label is a class name of the contract, or a class index in digits where no class has that name. Several accepted
labels are joined by |. Paths in a CSV are relative to the CSV's folder; absolute ones, `..` and symbolic links are
followed, because whoever gives the CSV may read those files anyway and they are only decoded as images. Only regular
files are opened, so a device or a pipe cannot hang a run.
"""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from edgecls.contract import Task
from edgecls.errors import DataError
from edgecls.frozen import Frozen

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MAX_CSV_BYTES = 256 << 20
_T = TypeVar("_T")


class Item(Frozen):
    """One image. accepted: class indices, any of which is right (single-label) or all of which are (multi-label).
    origin: the folder, or the line of the CSV, that says so.
    """

    path: Path
    accepted: tuple[int, ...]
    origin: str


class Dataset(Frozen):
    """available: number of images before the limit. notes: what was left out."""

    path: Path
    items: tuple[Item, ...]
    available: int
    notes: tuple[str, ...] = ()


def load_dataset(path: Path, labels: Sequence[str] | None, limit: int | None = None, *,
                 task: Task = "single-label") -> Dataset:
    """Read what images there are and check every label; images are decoded later, one by one.

    labels: class names by index, None when the network has none (labels are then indices). limit: at most so many
    images, the same ones each time, spread evenly over the classes. task "multi-label" allows an empty label.
    Raises DataError naming the line or folder.
    """
    if limit is not None and limit < 1:
        raise DataError(f"a limit of {limit} images leaves nothing to measure", "give --limit 1 or more")
    names = _Labels(labels, allow_empty=task == "multi-label")
    notes: list[str] = []
    try:
        if path.is_dir():
            items = list(_read_folders(path, names, notes))
        elif path.is_file():
            items = list(_read_csv(path, names))
        else:
            raise DataError(f"{path}: no such folder or CSV file", "check the path given to --data")
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read: {error.strerror or error}",
                        "check the path and its permissions") from None
    if not items:
        raise DataError(f"{path}: holds no images",
                        f"give a folder with one folder per class ({', '.join(SUFFIXES)}), or a CSV with path,label")
    chosen = items if limit is None else _spread(items, limit)
    return Dataset(path=path, items=tuple(chosen), available=len(items), notes=tuple(notes))


class _Labels:
    """Class names to indices."""

    def __init__(self, names: Sequence[str] | None, allow_empty: bool) -> None:
        self.count = None if names is None else len(names)
        self.allow_empty = allow_empty
        self.by_name: dict[str, list[int]] = {}
        for index, name in enumerate(names or ()):
            self.by_name.setdefault(name.strip(), []).append(index)

    def accepted(self, text: str, origin: str) -> tuple[int, ...]:
        """Indices of a label field. A field that is a class name as a whole may contain |."""
        text = text.strip()
        if text in self.by_name:
            return (self._index(text, origin),)
        if not text and self.allow_empty:
            return ()
        return tuple(dict.fromkeys(self._index(part.strip(), origin) for part in text.split("|")))

    def _index(self, label: str, origin: str) -> int:
        if not label:
            raise DataError(f"{origin}: the label is empty", "give a class name or a class index")
        found = self.by_name.get(label, [])
        if len(found) > 1:
            raise DataError(f"{origin}: {label!r} names the classes {found}",
                            "use the index of the class that is meant, or join them by | to accept any")
        if found:
            return found[0]
        if label.isascii() and label.isdigit() and len(label) <= 9 and (self.count is None or int(label) < self.count):
            return int(label)
        if self.count is None:
            raise DataError(f"{origin}: {label!r} is a name, but the network has no class names",
                            "use class indices, or export the model again with --labels")
        close = difflib.get_close_matches(label, self.by_name, n=1)
        raise DataError(f"{origin}: {label!r} is none of the network's {self.count} classes",
                        f"did you mean {close[0]!r}?" if close else
                        f"use a class name of the model or an index from 0 to {self.count - 1}")


def _read_folders(root: Path, names: _Labels, notes: list[str]) -> Iterator[Item]:
    others = 0
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            if entry.suffix.lower() in SUFFIXES:
                raise DataError(f"{entry}: is not in the folder of a class",
                                "put each image into a folder named after its class, or list them in a CSV")
            others += 1
            continue
        accepted = names.accepted(entry.name, f"folder {entry}")
        empty = True
        for folder, folders, files in os.walk(entry, onerror=_raise):
            folders.sort()
            for file in sorted(files):
                image = Path(folder, file)
                if file.startswith(".") or image.suffix.lower() not in SUFFIXES:
                    others += not file.startswith(".")
                    continue
                _check_file(image, str(image))
                yield Item(path=image, accepted=accepted, origin=f"folder {entry}")
                empty = False
        if empty:
            notes.append(f"the folder of class {entry.name!r} holds no images")
    if others:
        notes.append(f"{others} files that are no images were left out")


def _read_csv(path: Path, names: _Labels) -> Iterator[Item]:
    seen: dict[Path, int] = {}
    try:
        if path.stat().st_size > _MAX_CSV_BYTES:
            raise DataError(f"{path}: is larger than {_MAX_CSV_BYTES >> 20} MB", "split it, or use a folder per class")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [c.strip().lower() for c in next(reader, [])]
            if header.count("path") != 1 or header.count("label") != 1:
                raise DataError(f"{path}, line 1: the header must name the columns path and label, once each",
                                "start the CSV with the line: path,label")
            for row in reader:
                origin = f"{path}, line {reader.line_num}"
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(f"{origin}: {len(row)} fields, but the header has {len(header)}",
                                    "put a field that holds a comma into double quotes")
                image = _csv_path(row[header.index("path")], path.parent, origin)
                if image in seen:
                    raise DataError(f"{origin}: repeats the image of line {seen[image]}",
                                    "list each image once; join several accepted labels by |")
                seen[image] = reader.line_num
                yield Item(path=image, accepted=names.accepted(row[header.index("label")], origin), origin=origin)
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text", "give a CSV file saved as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}", "check the quotes") from None


def _csv_path(text: str, folder: Path, origin: str) -> Path:
    if not text or "\0" in text:
        raise DataError(f"{origin}: the path is empty or has a zero byte", "give the path of an image")
    image = folder / text
    _check_file(image, f"{origin}: {text}")
    return image


def _raise(error: OSError) -> None:
    raise error


def _check_file(image: Path, origin: str) -> None:
    try:
        regular = image.is_file()
    except OSError:  # a name too long, a loop of links
        regular = False
    if not regular:
        raise DataError(f"{origin}: there is no such image file",
                        "paths in a CSV are relative to the folder of the CSV; check the spelling")


def _spread(items: list[Item], limit: int) -> list[Item]:
    """At most `limit` items in their order: an equal share for each class, evenly spaced within it."""
    if limit >= len(items):
        return items
    classes: dict[tuple[int, ...], list[int]] = {}
    for position, item in enumerate(items):
        classes.setdefault(item.accepted[:1], []).append(position)
    quotas = dict.fromkeys(sorted(classes), 0)
    left = limit
    while left:
        open_classes = [c for c in quotas if quotas[c] < len(classes[c])]
        for c in _evenly(open_classes, min(left, len(open_classes))):
            quotas[c] += 1
            left -= 1
    return [items[p] for p in sorted(p for c, q in quotas.items() for p in _evenly(classes[c], q))]


def _evenly(values: Sequence[_T], count: int) -> list[_T]:
    return [values[(2 * i + 1) * len(values) // (2 * count)] for i in range(count)]
