"""The `.ecls` bundle on the host: written beside and renamed, read only after every byte is checked.

Format: docs/formats.md. It is a zip in which nothing is left to choice: the members' names, sizes and CRCs determine
every byte that is not content. The reader derives those bytes and compares, so it believes no field of the file.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from edgecls.errors import BundleError, InternalError, OutputError
from edgecls.frozen import decode_json, encode_json, sha256
from edgecls.output import write_beside
from edgecls.types import Artifact, Manifest, Member

BUNDLE_FORMAT = 1
_MANIFEST = "manifest.json"
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.]{0,62}")
_ORDER = (_MANIFEST, "header.bin", "model.so", "weights.bin")
_TRAILER_MARK = b"ECLSHASH"
_TRAILER_BYTES = 72
_MAX_MEMBERS = 32
_MAX_MANIFEST = 64 << 20
_MAX_CONTENT = (1 << 32) - (1 << 16)  # offsets are 32-bit; leave room for the records
_CHUNK = 1 << 20
_AGAIN = "compile the model again, or copy the bundle again if it came over a network"
_RECOMPILE = "compile the model again with this version of edgecls"

_FIXED = struct.pack("<HHHHH", 20, 0, 0, 0, 0x21)  # zip 2.0, no flags, stored, 1980-01-01 00:00:00
_LOCAL = struct.Struct("<4s10sIIIHH")
_CENTRAL = struct.Struct("<4s2s10sIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")


class _Entry(NamedTuple):
    name: str
    crc: int
    size: int


def write_bundle(path: Path, manifest: Manifest, members: Mapping[str, bytes | Path]) -> Artifact:
    """Write a bundle atomically. members: the content, or the file that has it. manifest.members is filled in here.

    Raises OutputError.
    """
    for name in members:
        if not _NAME.fullmatch(name) or name == _MANIFEST:
            raise InternalError(f"{name!r} is not a bundle member name", "report this with the command you ran")
    measured = {name: _measure(content) for name, content in members.items()}
    manifest = msgspec.structs.replace(
        manifest,
        format=BUNDLE_FORMAT,
        members={name: measured[name].member for name in sorted(members)},
    )
    content: dict[str, bytes | Path] = {_MANIFEST: encode_json(manifest), **members}
    measured[_MANIFEST] = _measure(content[_MANIFEST])
    if (len(content) > _MAX_MEMBERS or measured[_MANIFEST].member.bytes > _MAX_MANIFEST
            or sum(m.member.bytes for m in measured.values()) > _MAX_CONTENT):
        raise OutputError(f"{path}: more than {_MAX_MEMBERS} members or 4 GiB do not fit into a bundle",
                          "compile fewer batch sizes into one bundle")
    entries = [_Entry(n, measured[n].crc, measured[n].member.bytes) for n in _in_order(set(content))]
    digest = hashlib.sha256()

    def chunks() -> Iterator[bytes]:
        for entry in entries:
            for piece in chain([_local_record(entry)], _pieces(content[entry.name])):
                digest.update(piece)
                yield piece
        directory = _directory(entries)
        digest.update(directory)
        yield directory + _trailer(digest.hexdigest())

    write_beside(path, chunks())
    return Artifact(path=path, hash=digest.hexdigest(), manifest=manifest)


def open_bundle(path: Path) -> Artifact:
    """Verify a bundle, every byte, and read its manifest. Raises BundleError."""
    digest = hashlib.sha256()
    entries: list[_Entry] = []
    found: dict[str, Member] = {}
    json: list[bytes] = []
    with _opened(path) as file:
        while (entry := _next_entry(path, file)) is not None:
            if len(entries) == _MAX_MEMBERS or (not entries and entry.size > _MAX_MANIFEST):
                raise _damaged(path)
            digest.update(_local_record(entry))
            content, crc = hashlib.sha256(), 0
            for chunk in _chunks(path, file, entry.size):
                digest.update(chunk)
                content.update(chunk)
                crc = zlib.crc32(chunk, crc)
                if not entries:
                    json.append(chunk)
            if crc != entry.crc:
                raise _damaged(path)
            entries.append(entry)
            found[entry.name] = Member(bytes=entry.size, sha256=content.hexdigest())
        names = [entry.name for entry in entries]
        if names[:1] != [_MANIFEST] or names != _in_order(set(names)):
            raise _damaged(path)
        directory = _directory(entries)
        digest.update(directory)
        file.seek(-4, 1)  # the mark that ended the members
        if file.read(len(directory) + _TRAILER_BYTES + 1) != directory + _trailer(digest.hexdigest()):
            raise _damaged(path)
    del found[_MANIFEST]
    return Artifact(path=path, hash=digest.hexdigest(), manifest=_parse_manifest(path, b"".join(json), found))


def read_member(artifact: Artifact, name: str) -> bytes:
    """One member's bytes, checked again: the file may have changed since it was opened. Raises BundleError."""
    expected = artifact.manifest.members.get(name)
    if expected is None:
        raise BundleError(f"{artifact.path}: has no member {name!r}", _AGAIN)
    with _opened(artifact.path) as file:
        while (entry := _next_entry(artifact.path, file)) is not None and entry.name != name:
            file.seek(entry.size, 1)
        if entry is not None and entry.size == expected.bytes:
            data = b"".join(_chunks(artifact.path, file, entry.size))
            if sha256(data) == expected.sha256:
                return data
    raise BundleError(f"{artifact.path}: changed after it was opened", _AGAIN)


class _Measured(NamedTuple):
    member: Member
    crc: int


def _measure(content: bytes | Path) -> _Measured:
    digest, crc, size = hashlib.sha256(), 0, 0
    try:
        for piece in _pieces(content):
            digest.update(piece)
            crc, size = zlib.crc32(piece, crc), size + len(piece)
    except OSError as error:
        raise OutputError(f"an intermediate file cannot be read: {error.strerror or error}",
                          "compile again, with nothing that cleans TMPDIR meanwhile") from None
    return _Measured(Member(bytes=size, sha256=digest.hexdigest()), crc)


def _pieces(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _in_order(names: set[str]) -> list[str]:
    return [n for n in _ORDER if n in names] + sorted(set(names) - set(_ORDER))


def _local_record(entry: _Entry) -> bytes:
    """What stands in front of a member's content."""
    name = entry.name.encode()
    return _LOCAL.pack(b"PK\3\4", _FIXED, entry.crc, entry.size, entry.size, len(name), 0) + name


def _directory(entries: Sequence[_Entry]) -> bytes:
    """The zip's central directory, and its end record up to the comment."""
    records, offset = b"", 0
    for entry in entries:
        name = entry.name.encode()
        records += _CENTRAL.pack(b"PK\1\2", b"\x14\3", _FIXED, entry.crc, entry.size, entry.size, len(name), 0, 0, 0, 0,
                                 0o100644 << 16, offset) + name
        offset += _LOCAL.size + len(name) + entry.size
    return records + _END.pack(b"PK\5\6", 0, 0, len(entries), len(entries), len(records), offset, _TRAILER_BYTES)


def _trailer(digest: str) -> bytes:
    return _TRAILER_MARK + digest.encode()


def _next_entry(path: Path, file: IO[bytes]) -> _Entry | None:
    """Read one local record; None where the central directory starts instead."""
    record = file.read(4)
    if record == b"PK\1\2":
        return None
    record += file.read(_LOCAL.size - 4)
    if len(record) < _LOCAL.size:
        raise _damaged(path)
    _, _, crc, size, _, name_bytes, _ = _LOCAL.unpack(record)
    record += file.read(min(name_bytes, 64))
    entry = _Entry(record[_LOCAL.size:].decode("latin-1"), crc, size)
    if not _NAME.fullmatch(entry.name) or record != _local_record(entry):
        raise _damaged(path)
    return entry


def _chunks(path: Path, file: IO[bytes], size: int) -> Iterator[bytes]:
    """The next `size` bytes; memory grows with what is there, not with what is claimed."""
    while size:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            raise _damaged(path)
        size -= len(chunk)
        yield chunk


def _parse_manifest(path: Path, json: bytes, found: Mapping[str, Member]) -> Manifest:
    try:
        manifest = decode_json(json, Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: its manifest cannot be read by this version: {error}", _RECOMPILE) from None
    if manifest.format != BUNDLE_FORMAT:
        raise BundleError(f"{path}: bundle format {manifest.format}, this version reads {BUNDLE_FORMAT}", _RECOMPILE)
    for name in sorted(manifest.members.keys() | found):
        if manifest.members.get(name) != found.get(name):
            raise BundleError(f"{path}: member {name!r} is not the one the manifest names", _AGAIN)
    return manifest


def _damaged(path: Path) -> BundleError:
    return BundleError(f"{path}: damaged: its bytes do not match its hash", _AGAIN)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file that at least starts like a bundle. Raises BundleError, also when reading it fails later."""
    try:
        if not path.is_file():  # a pipe would block, a device never end
            kind = "is a folder, not a bundle" if path.is_dir() else "there is no such file"
            raise BundleError(f"{path}: {kind}", "give the .ecls file that `edgecls compile` wrote")
        with path.open("rb") as file:
            if file.read(4) != b"PK\3\4":
                raise BundleError(f"{path}: not an edgecls bundle", "give the .ecls file that `edgecls compile` wrote")
            file.seek(0)
            yield file
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}", "check the path and its permissions") from None
