"""A bundle is read whole and unchanged, or not at all; a result is written whole, or nothing is."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgecls.bundle import open_bundle, read_member, write_bundle
from edgecls.errors import BundleError, EdgeclsError, InternalError, OutputError
from edgecls.output import check_writable, write_beside
from edgecls.types import Manifest
from tests.architecture.test_types import example as example_of

MEMBERS = {"weights.bin": bytes(range(256)), "model.so": b"\x7fELF" + bytes(99), "a.txt": b"", "header.bin": b"h" * 64}
# The children here only write a file, whatever threads their parent has.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def manifest() -> Manifest:
    value: Manifest = example_of(Manifest)
    return value


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("bundle") / "good.ecls"
    write_bundle(path, manifest(), MEMBERS)
    return path.read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "a.ecls", manifest(), MEMBERS)
    assert open_bundle(written.path) == written
    assert {name: read_member(written, name) for name in MEMBERS} == MEMBERS
    assert stat.S_IMODE(written.path.stat().st_mode) & 0o600 == 0o600


def test_equal_input_gives_equal_bytes(tmp_path: Path, data: bytes) -> None:
    shuffled = dict(reversed(MEMBERS.items()))
    write_bundle(tmp_path / "b.ecls", manifest(), shuffled)
    assert (tmp_path / "b.ecls").read_bytes() == data


def test_any_zip_tool_reads_it(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "c.ecls"
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "header.bin", "model.so", "weights.bin", "a.txt"]
        assert {name: archive.read(name) for name in MEMBERS} == MEMBERS
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.comment == data[-72:] and len(archive.comment) == 72


def refused(path: Path, damaged: bytes) -> None:
    path.write_bytes(damaged)
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    assert caught.value.hint and str(path) in caught.value.message


@SHARED
@given(draw=st.data())
def test_any_changed_byte_is_refused(tmp_path: Path, data: bytes, draw: st.DataObject) -> None:
    position = draw.draw(st.integers(0, len(data) - 1))
    flip = draw.draw(st.integers(1, 255))
    refused(tmp_path / "x.ecls", data[:position] + bytes([data[position] ^ flip]) + data[position + 1:])


@SHARED
@given(draw=st.data())
def test_any_truncation_is_refused(tmp_path: Path, data: bytes, draw: st.DataObject) -> None:
    refused(tmp_path / "x.ecls", data[:draw.draw(st.integers(0, len(data) - 1))])


@SHARED
@given(more=st.binary(min_size=1, max_size=100))
def test_anything_appended_is_refused(tmp_path: Path, data: bytes, more: bytes) -> None:
    refused(tmp_path / "x.ecls", data + more)


@SHARED
@given(junk=st.binary(max_size=400))
@example(junk=b"PK\3\4" + b"\xff" * 300)
@example(junk=b"PK\3\4" + b"\0" * 300)
def test_anything_else_is_refused(tmp_path: Path, junk: bytes) -> None:
    refused(tmp_path / "x.ecls", junk)


def repack(data: bytes, tmp_path: Path, change: Callable[[dict[str, bytes]], None], **how: int) -> bytes:
    """The same bundle made anew by zipfile, with a right hash, after `change`: what a forger can do."""
    source, target = tmp_path / "source.zip", tmp_path / "target.zip"
    source.write_bytes(data)
    with zipfile.ZipFile(source) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(target, "w", **how) as archive:
        for name, member in content.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, member, compress_type=how.get("compression", zipfile.ZIP_STORED))
        archive.comment = b"\0" * 72
    body = target.read_bytes()[:-72]
    return body + b"ECLSHASH" + hashlib.sha256(body).hexdigest().encode()


def test_zipfile_makes_the_same_bytes(tmp_path: Path, data: bytes) -> None:
    assert repack(data, tmp_path, lambda content: None) == data


@pytest.mark.parametrize("change", [
    lambda c: c.update({"weights.bin": b"other"}),
    lambda c: c.pop("model.so"),
    lambda c: c.update({"more.bin": b"more"}),
    lambda c: c.update({"../../evil": b"x"}),
    lambda c: c.update({"Upper": b"x"}),
    lambda c: c.update({"model.so": c.pop("model.so")}),  # another order
    lambda c: c.update({f"m{i}": b"" for i in range(40)}),
    lambda c: c.update({"manifest.json": b"{}"}),
    lambda c: c.update({"manifest.json": b"[" * 100_000}),
    lambda c: c.update({"manifest.json": b"\xff"}),
    lambda c: c.update({"manifest.json": c["manifest.json"].replace(b'"format":1', b'"format":2')}),
    lambda c: c.update({"manifest.json": c["manifest.json"].replace(b'"batches":[1,4]', b'"batches":[]')}),
    lambda c: c.pop("manifest.json"),
    lambda c: c.clear(),
])
def test_a_forged_bundle_with_a_right_hash_is_refused(tmp_path: Path, data: bytes,
                                                      change: Callable[[dict[str, bytes]], None]) -> None:
    refused(tmp_path / "forged.ecls", repack(data, tmp_path, change))


def test_compression_is_refused(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path / "z.ecls", repack(data, tmp_path, lambda c: None, compression=zipfile.ZIP_DEFLATED))


def test_a_member_changed_after_opening_is_refused(tmp_path: Path, data: bytes) -> None:
    artifact = write_bundle(tmp_path / "a.ecls", manifest(), MEMBERS)
    position = data.index(MEMBERS["weights.bin"])
    artifact.path.write_bytes(data[:position] + b"\xff" + data[position + 1:])
    with pytest.raises(BundleError):
        read_member(artifact, "weights.bin")
    with pytest.raises(BundleError):
        read_member(artifact, "no.such")


@pytest.mark.parametrize("name", ["../x", "A", "", "a/b", "a" * 64, "manifest.json"])
def test_bad_member_names_are_our_own_mistake(tmp_path: Path, name: str) -> None:
    with pytest.raises(InternalError):
        write_bundle(tmp_path / "x.ecls", manifest(), {name: b""})
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(BundleError):
            open_bundle(path)


# ---------------------------------------------------------------- output


def in_child(work: Callable[[], None]) -> str:
    """Run `work` in a forked child; "Class: message" of the EdgeclsError it raises, "" when it raises none."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            try:
                work()
                writer.send("")
            except EdgeclsError as error:
                writer.send(f"{type(error).__name__}: {error.message}")
        finally:
            os._exit(0)
    writer.close()
    os.waitpid(child, 0)
    answer: str = reader.recv()
    return answer


NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; others test it by being themselves")
@pytest.mark.parametrize("attempt", [lambda p: write_beside(p, [b"data"]), check_writable])
def test_a_folder_without_write_permission(tmp_path: Path, attempt: Callable[[Path], None]) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent.stat().st_uid == 0 and "pytest" in str(parent):
            parent.chmod(0o755)

    def work() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        attempt(folder / "out.ecls")

    assert in_child(work).startswith("OutputError")
    assert list(folder.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    old = tmp_path / "out.ecls"
    old.write_bytes(b"the old one")

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        write_bundle(old, manifest(), {"weights.bin": bytes(100_000)})

    assert in_child(work).startswith("OutputError")
    assert [path.name for path in tmp_path.iterdir()] == ["out.ecls"]
    assert old.read_bytes() == b"the old one"


def test_an_interrupted_source_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_beside(tmp_path / "x", chunks())
    assert list(tmp_path.iterdir()) == []


def test_the_umask_is_respected(tmp_path: Path) -> None:
    def work() -> None:
        os.umask(0o077)
        write_beside(tmp_path / "private", [b"x"])

    assert in_child(work) == ""
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["/dev/null", "folder", "absent/x", "name" * 100, "nul\0"])
@pytest.mark.parametrize("attempt", [lambda p: write_beside(p, [b"data"]), check_writable])
def test_impossible_places_are_refused(tmp_path: Path, name: str, attempt: Callable[[Path], None]) -> None:
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    if attempt is check_writable and name.startswith("n"):
        attempt(tmp_path / name)  # only writing finds out
    else:
        with pytest.raises(OutputError):
            attempt(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
    assert Path("/dev/null").is_char_device()
