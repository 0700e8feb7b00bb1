"""The `.ecls` bundle on the host: written beside and renamed, read only after every byte is checked.

Format: docs/formats.md.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgecls.errors import BundleError, InternalError
from edgecls.frozen import decode_json, encode_json, sha256
from edgecls.output import write_beside
from edgecls.types import Artifact, Manifest, Member

BUNDLE_FORMAT = 1
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.]{0,62}")
_ORDER = ("manifest.json", "header.bin", "model.so", "weights.bin")
_TRAILER_MARK = b"ECLSHASH"
_TRAILER_BYTES = 72
_MAX_MEMBERS = 32
_MAX_MANIFEST = 64 << 20
_AGAIN = "compile the model again, or copy the bundle again if it came over a network"


def write_bundle(path: Path, manifest: Manifest, members: Mapping[str, bytes]) -> Artifact:
    """Write a bundle atomically. manifest.members is filled in here. Raises OutputError."""
    for name in members:
        if not _NAME.fullmatch(name):
            raise InternalError(f"{name!r} is not a bundle member name", "report this with the command you ran")
    manifest = msgspec.structs.replace(
        manifest,
        format=BUNDLE_FORMAT,
        members={n: Member(bytes=len(b), sha256=sha256(b)) for n, b in sorted(members.items())},
    )
    content = {"manifest.json": encode_json(manifest), **members}
    names = [n for n in _ORDER if n in content] + sorted(set(content) - set(_ORDER))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content[name])
        archive.comment = b"\0" * _TRAILER_BYTES
    body = buffer.getbuffer()[:-_TRAILER_BYTES]
    digest = hashlib.sha256(body).hexdigest()
    write_beside(path, [body, _TRAILER_MARK, digest.encode()])
    return Artifact(path=path, hash=digest, manifest=manifest)


def open_bundle(path: Path) -> Artifact:
    """Verify a bundle and read its manifest. Raises BundleError; never believes a size it has not bounded."""
    data = _read_verified(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > _MAX_MEMBERS or len({i.filename for i in infos}) != len(infos):
                raise BundleError(f"{path}: too many or repeated members", _AGAIN)
            for info in infos:
                if not _NAME.fullmatch(info.filename) or info.compress_type != zipfile.ZIP_STORED:
                    raise BundleError(f"{path}: member {info.filename!r} is not allowed in a bundle", _AGAIN)
            if infos[0].filename != "manifest.json" or infos[0].file_size > _MAX_MANIFEST:
                raise BundleError(f"{path}: does not start with a manifest", _AGAIN)
            manifest = decode_json(archive.read("manifest.json"), Manifest)
            for name in sorted({i.filename for i in infos} - {"manifest.json"} | set(manifest.members)):
                member = manifest.members.get(name)
                if member is None or sha256(archive.read(name)) != member.sha256:
                    raise BundleError(f"{path}: member {name!r} is not the one the manifest names", _AGAIN)
    except (zipfile.BadZipFile, KeyError, IndexError, EOFError, OSError) as error:
        raise BundleError(f"{path}: not a readable bundle: {error}", _AGAIN) from None
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, NotImplementedError) as error:
        raise BundleError(f"{path}: its manifest cannot be read by this version: {error}",
                          "compile the model again with this version of edgecls") from None
    if manifest.format != BUNDLE_FORMAT:
        raise BundleError(f"{path}: bundle format {manifest.format}, this version reads {BUNDLE_FORMAT}",
                          "compile the model again with this version of edgecls")
    return Artifact(path=path, hash=data[-64:].decode(), manifest=manifest)


def read_member(artifact: Artifact, name: str) -> bytes:
    """One member's bytes, checked again: the file may have changed since it was opened. Raises BundleError."""
    expected = artifact.manifest.members.get(name)
    if expected is None:
        raise BundleError(f"{artifact.path}: has no member {name!r}", _AGAIN)
    try:
        with zipfile.ZipFile(artifact.path) as archive:
            if archive.getinfo(name).file_size != expected.bytes:
                raise BundleError(f"{artifact.path}: member {name!r} changed", _AGAIN)
            data = archive.read(name)
    except (zipfile.BadZipFile, KeyError, EOFError, OSError) as error:
        raise BundleError(f"{artifact.path}: cannot be read: {error}", _AGAIN) from None
    if sha256(data) != expected.sha256:
        raise BundleError(f"{artifact.path}: member {name!r} changed", _AGAIN)
    return data


def _read_verified(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise BundleError(f"{path}: is a folder, not a bundle", "give the .ecls file that `edgecls compile` wrote") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}", "check the path") from None
    if len(data) < 2 * _TRAILER_BYTES or data[:4] != b"PK\x03\x04":
        raise BundleError(f"{path}: not an edgecls bundle", "give the .ecls file that `edgecls compile` wrote")
    body, trailer = memoryview(data)[:-_TRAILER_BYTES], data[-_TRAILER_BYTES:]
    if trailer[:8] != _TRAILER_MARK or trailer[8:] != hashlib.sha256(body).hexdigest().encode():
        raise BundleError(f"{path}: damaged: its bytes do not match its hash", _AGAIN)
    return data
