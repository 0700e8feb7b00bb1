"""Frozen values, their JSON and their hashes: what every type in edgecls is made of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        return lambda kind: kind

T = TypeVar("T")


class _FrozenMeta(msgspec.StructMeta):
    """msgspec lets subclasses inherit `frozen`, but not `kw_only`."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> _FrozenMeta:
        config.setdefault("kw_only", True)
        return super().__new__(mcls, name, bases, namespace, **config)


# Type checkers do not see what subclasses inherit, so they are told.
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Frozen(msgspec.Struct, metaclass=_FrozenMeta, frozen=True, forbid_unknown_fields=True):
    """A value that never changes; unknown keys in its JSON are errors."""


def encode_json(value: Any, *, indent: bool = False) -> bytes:
    """JSON with sorted keys: equal values give equal bytes. `value` is a Frozen, or plain JSON data."""
    data = msgspec.json.encode(value, order="sorted")
    return msgspec.json.format(data, indent=2) + b"\n" if indent else data


def decode_json(data: bytes | str, kind: type[T]) -> T:
    """Strictly typed decode. Raises msgspec.ValidationError (names the key) or msgspec.DecodeError."""
    return msgspec.json.decode(data, type=kind)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content_hash(value: Any) -> str:
    """SHA-256, in hex, of the value's sorted JSON."""
    return sha256(encode_json(value))
