"""EC_ALIGN of ec_model.h: where everything that a kernel sees begins."""

from __future__ import annotations

ALIGN = 64


def align(size: int) -> int:
    """Bytes up to the next boundary."""
    return (size + ALIGN - 1) // ALIGN * ALIGN
