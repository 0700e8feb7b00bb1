"""targets/<name>.toml -> Target. Whatever is wrong with a file is one TargetError that names file, key and remedy."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from edgecls.errors import TargetError
from edgecls.read import read_regular
from edgecls.targets.features import ARCH_FEATURES
from edgecls.targets.host import native_target
from edgecls.types import Target

# A link to the repository's targets/, so that a wheel carries the files as package data.
FOLDER = Path(__file__).parent.parent / "_data" / "targets"
_MAX_BYTES = 1 << 20
_FIX = "correct the file; the shipped targets show a complete one: edgecls targets NAME"


def load_target(name_or_path: str | Path) -> Target:
    """A shipped target by name, `native` for this machine, or a user's TOML file by path (contains / or ends in .toml).

    Raises TargetError naming the file, the key path and what is allowed there, or the closest known name.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(".toml"):
        return _read(Path(name_or_path))
    if text == "native":
        return native_target()
    names = _names()
    if text not in names:
        known = [*names, "native"]
        close = difflib.get_close_matches(text, known, n=1)
        question = f"; did you mean '{close[0]}'?" if close else ""
        raise TargetError(f"unknown target {text!r}{question}",
                          f"choose one of {', '.join(known)}, or give the path of a .toml file")
    return _read(FOLDER / f"{text}.toml")


def list_targets() -> list[Target]:
    """The shipped targets, by name. `native` is not among them: it describes whatever machine this is."""
    return [_read(FOLDER / f"{name}.toml") for name in _names()]


def _names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _read(path: Path) -> Target:
    try:
        data = read_regular(path, _MAX_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise TargetError(f"{path}: cannot be read: {reason}", "give the path of a readable .toml file") from None
    return parse_target(data, str(path))


def parse_target(data: bytes, origin: str) -> Target:
    """Target from TOML bytes. Raises TargetError naming `origin`, the key path and what is allowed there."""
    try:
        target = msgspec.toml.decode(data, type=Target)
    except msgspec.ValidationError as error:
        raise _explain(str(error), origin) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise TargetError(f"{origin}: is not TOML: {error}", _FIX) from None
    for key, value, allowed in _violations(target):
        raise TargetError(f"{origin}: {key}: {value!r} is not allowed", f"{key} must be {allowed}")
    return target


# ---------------------------------------------------------------- what the types cannot say

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_RANGES: dict[str, tuple[int, int]] = {
    "cpu.cores": (1, 4096),
    "cpu.clock_mhz": (1, 20_000),
    "cpu.vector_registers": (8, 128),
    "cpu.fma_pipes": (1, 8),
    "cpu.fma_latency": (1, 64),
    "cpu.load_ports": (1, 8),
    "cpu.cache.l1d": (1 << 10, 1 << 30),
    "cpu.cache.l2": (0, 1 << 40),
    "cpu.cache.l3": (0, 1 << 40),
    "memory_mb": (1, 1 << 30),
    "gpu.memory_mb": (1, 1 << 30),
}


def _violations(target: Target) -> list[tuple[str, object, str]]:
    """(key path, value, what is allowed) for each value that has the right type and yet makes no sense."""
    flat = flatten(target)
    found: list[tuple[str, object, str]] = []

    def require(key: str, holds: bool, allowed: str) -> None:
        if not holds:
            found.append((key, flat[key], allowed))

    for key in ("name", "cpu.name", "qemu_cpu"):
        if flat.get(key) is not None:
            require(key, _NAME.fullmatch(str(flat[key])) is not None,
                    "1 to 64 letters, digits, '_', '.', '+' or '-', starting with a letter or digit")
    for key, (low, high) in _RANGES.items():
        if key in flat:
            require(key, low <= flat[key] <= high, f"{low} to {high}")
    require("cpu.vector_bits", target.cpu.vector_bits in (128, 256, 512), "128, 256 or 512")
    require("cpu.cache.line", target.cpu.cache.line in (32, 64, 128, 256), "32, 64, 128 or 256")
    allowed = ARCH_FEATURES[target.cpu.arch]
    for feature in target.cpu.features:
        if feature not in allowed:
            found.append(("cpu.features", feature, f"some of {', '.join(sorted(allowed))} for {target.cpu.arch}"))
    require("os.glibc", re.fullmatch(r"2\.[0-9]{1,2}", target.os.glibc, re.ASCII) is not None, 'a version as "2.28"')
    require("os.kernel", target.os.kernel == "linux", '"linux"')
    if target.gpu is not None:
        require("gpu.compute_capability",
                re.fullmatch(r"[1-9][0-9]?\.[0-9]", target.gpu.compute_capability, re.ASCII) is not None,
                'as "8.7"')
    if target.cc is not None:
        require("cc", bool(target.cc) and all(word and "\0" not in word for word in target.cc),
                'a compiler and its arguments, as ["aarch64-linux-gnu-gcc"]')
    return found


def flatten(value: msgspec.Struct, prefix: str = "") -> dict[str, Any]:
    """Key path -> leaf value, descending into nested values: {"cpu.cache.l2": 1048576, ...}."""
    flat: dict[str, Any] = {}
    for name in value.__struct_fields__:
        item = getattr(value, name)
        if isinstance(item, msgspec.Struct):
            flat |= flatten(item, f"{prefix}{name}.")
        else:
            flat[prefix + name] = item
    return flat


# ---------------------------------------------------------------- msgspec's words -> ours


def _explain(message: str, origin: str) -> TargetError:
    """msgspec says "<what> - at `$.cpu.arch`"; add the keys or values that are allowed at that place."""
    what, _, place = re.sub(r"`object( \| null)?`", "a table", message).partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    kind = _type_at(path)
    where = f"{origin}: {path}: " if path else f"{origin}: "
    if unknown := re.search(r"unknown field `(.*)`", what, re.DOTALL):
        keys = list(kind.__struct_fields__) if _is_struct(kind) else []
        close = difflib.get_close_matches(unknown[1], keys, n=1)
        question = f"; did you mean '{close[0]}'?" if close else ""
        return TargetError(f"{where}unknown key {unknown[1]!r}{question}", f"the keys here are: {', '.join(keys)}")
    if missing := re.search(r"missing required field `(.*)`", what, re.DOTALL):
        key = f"{path}.{missing[1]}" if path else missing[1]
        return TargetError(f"{origin}: {key}: is missing", _FIX)
    if get_origin(kind) is Literal:
        return TargetError(f"{where}{what[0].lower()}{what[1:]}",
                           f"{path} must be one of: {', '.join(map(str, get_args(kind)))}")
    return TargetError(f"{where}{what[0].lower()}{what[1:]}", f"{path or 'the file'} must be {_allowed_at(path, kind)}")


def _allowed_at(path: str, kind: Any) -> str:
    """What may stand at a key path where something of another type does."""
    if path in _RANGES:
        return "a whole number, {} to {}".format(*_RANGES[path])
    if _is_struct(kind):
        return f"a table with the keys {', '.join(kind.__struct_fields__)}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text in quotes"}.get(
        kind, "a list of texts in quotes")


def _type_at(path: str) -> Any:
    """The declared type at a key path of Target; None where it is not a known key."""
    kind: Any = Target
    for name in filter(None, path.split(".")):
        if not _is_struct(kind):
            return None
        kind = get_type_hints(kind).get(name.partition("[")[0])
        if get_origin(kind) in (Union, UnionType):
            kind = next(option for option in get_args(kind) if option is not type(None))
    return kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
