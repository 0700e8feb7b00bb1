"""Names of the classes, by the name of a list that ships with edgecls or from a text file."""

from __future__ import annotations

from pathlib import Path

from edgecls.errors import ContractError
from edgecls.read import read_regular

_SHIPPED = Path(__file__).parent / "labels"
_MAX_BYTES = 16 << 20


def list_labels() -> tuple[str, ...]:
    """Names that `load_labels` knows."""
    return tuple(sorted(p.stem for p in _SHIPPED.glob("*.txt")))


def load_labels(name_or_path: str) -> tuple[str, ...]:
    """One label per line (UTF-8); blank lines at the end do not count. Raises ContractError."""
    shipped = _SHIPPED / f"{name_or_path}.txt"
    path = shipped if name_or_path in list_labels() else Path(name_or_path)
    hint = f"give a text file with one class a line, or one of: {', '.join(list_labels())}"
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ContractError(f"{path}: is not UTF-8 text", hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ContractError(f"labels {name_or_path!r} cannot be read: {reason}", hint) from None
    labels = tuple(line.strip(" \t\r") for line in text.rstrip().split("\n"))
    for number, label in enumerate(labels, start=1):
        if not label or any(ord(c) < 32 or ord(c) == 127 for c in label):
            reason = "holds a control character" if label else "has no label"
            raise ContractError(f"{path}: line {number} {reason}", hint)
    return labels
