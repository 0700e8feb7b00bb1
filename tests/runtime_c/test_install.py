"""ec_install on good, damaged and hostile bundles, under the sanitizers."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgecls.bundle import read_member
from tests.runtime_c import tiny


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, members):
    return tiny.bundle(tmp_path_factory.mktemp("bundle") / "tiny.ecls", members)


@pytest.fixture
def small(tmp_path, members):
    """A bundle of a few hundred bytes: model.so does not have to load to be installed."""
    return tiny.bundle(tmp_path / "small.ecls", {**members, "model.so": b"not loaded here"}).path.read_bytes()


def sealed(body: bytes) -> bytes:
    """With a trailer that fits: only the structure can be wrong then."""
    return body + b"ECLSHASH" + hashlib.sha256(body).hexdigest().encode()


def install_all(driver, tmp_path: Path, bundles: list[bytes]) -> list[str]:
    destination = tmp_path / "installed"
    paths = []
    for number, data in enumerate(bundles):
        paths.append(tmp_path / f"{number}.ecls")
        paths[-1].write_bytes(data)
    lines = driver("install", destination, stdin="".join(f"{p}\n" for p in paths))
    assert len(lines) == len(bundles)
    return lines


def refused(driver, tmp_path, bundles):
    lines = install_all(driver, tmp_path, bundles)
    assert [line for line in lines if line[:2] != "3 "] == []
    assert not (tmp_path / "installed").exists() or not any((tmp_path / "installed").iterdir())
    return lines


def test_installs_what_python_wrote(ec_run, artifact, tmp_path):
    for _ in range(2):  # the second time it is there already
        done = subprocess.run([ec_run, "--install", artifact.path, tmp_path / "to"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        folder = Path(done.stdout.strip())
        assert folder == tmp_path / "to" / artifact.hash
        assert [f.name for f in (tmp_path / "to").iterdir()] == [artifact.hash]
        assert folder.stat().st_mode & 0o777 == 0o700
        for name in artifact.manifest.members:
            assert (folder / name).read_bytes() == read_member(artifact, name)
    assert subprocess.run([ec_run, folder, "--selftest"]).returncode == 0


def test_a_damaged_installation_is_not_taken_over(ec_run, artifact, tmp_path):
    command = [ec_run, "--install", artifact.path, tmp_path]
    folder = Path(subprocess.run(command, capture_output=True, text=True).stdout.strip())
    weights = folder / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "install again" in done.stderr
    weights.unlink()
    assert subprocess.run(command, capture_output=True).returncode == 2
    folder.chmod(0o777)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "only this user" in done.stderr


def test_every_flipped_byte_is_noticed(driver, small, tmp_path):
    bundles = [small[:i] + bytes([small[i] ^ 1 << i % 8]) + small[i + 1:] for i in range(0, len(small), 3)]
    refused(driver, tmp_path, bundles)


def test_every_structure_byte_is_checked_even_with_a_fitting_hash(driver, small, tmp_path):
    body = small[:-72]
    with zipfile.ZipFile(io.BytesIO(small)) as archive:
        infos = archive.infolist()
        start = archive.start_dir
    places = {i for info in infos for i in range(info.header_offset, info.header_offset + 30 + len(info.filename))}
    places |= set(range(start, len(body)))
    changed = [body[:i] + bytes([body[i] ^ 1 << bit]) + body[i + 1:] for i in sorted(places) for bit in (0, 7)]
    refused(driver, tmp_path, list(map(sealed, changed)))


def test_truncated_bundles(driver, small, tmp_path):
    cuts = [*range(0, len(small), 37), len(small) - 1]
    refused(driver, tmp_path, [small[:n] for n in cuts] + [sealed(small[:n]) for n in cuts])


def test_random_mutations_with_a_fitting_hash(driver, small, tmp_path):
    rng = np.random.default_rng(13)
    bundles = []
    for _ in range(300):
        body = bytearray(small[:-72])
        for _ in range(rng.integers(1, 4)):
            kind, at = rng.integers(0, 4), int(rng.integers(0, len(body)))
            if kind == 0:
                body[at] = int(rng.integers(0, 256))
            elif kind == 1:
                del body[at:at + int(rng.integers(1, 40))]
            elif kind == 2:
                body[at:at] = rng.bytes(int(rng.integers(1, 40)))
            else:
                body[at:at + 4] = struct.pack("<I", int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, len(body)])))
            if not body:
                body = bytearray(b"PK")
        bundles.append(sealed(bytes(body)))
    refused(driver, tmp_path, bundles)


def archive(entries: list[tuple[str, bytes]], **changes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=False) as file:
        for name, data in entries:
            info = zipfile.ZipInfo(name, changes.get("date", (1980, 1, 1, 0, 0, 0)))
            info.create_system = 3
            info.external_attr = changes.get("attributes", 0o100644 << 16)
            info.compress_type = changes.get("method", zipfile.ZIP_STORED)
            file.writestr(info, data)
        file.comment = b"\0" * 72
    return buffer.getvalue()[:-72]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives(driver, members, tmp_path):
    good = [("manifest.json", b"{}"), *members.items()]
    assert install_all(driver, tmp_path, [sealed(archive(good))])[0].startswith("0 ")
    hostile = [
        archive([*good, (name, b"x")])
        for name in ("../up", "..", ".", ".hidden", "/etc/passwd", "a/b", "a\\b", "A", "x" * 64, "e\u0301", "a b", "c:")
    ]
    hostile += [
        archive([*good, ("twice", b"x"), ("twice", b"y")]),
        archive([*good, *((f"m{i}", b"") for i in range(40))]),
        archive(good[1:]),  # no manifest
        archive(good[:2]),  # no model
        archive(good, method=zipfile.ZIP_DEFLATED),
        archive(good, date=(2020, 1, 1, 0, 0, 0)),
        archive(good, attributes=0o120777 << 16),  # a symbolic link
        archive([]),
        b"\0" + archive(good),
        archive(good) + b"\0",
    ]
    (tmp_path / "second").mkdir()
    lines = install_all(driver, tmp_path / "second",
                        list(map(sealed, hostile)))
    assert [(n, line) for n, line in enumerate(lines) if line[:2] != "3 "] == []


def patched(body: bytes, member: int, field: int, value: int) -> bytes:
    """Overwrite a 32-bit field of a member's central entry."""
    with zipfile.ZipFile(io.BytesIO(body + b"\0" * 72)) as file:
        at = file.start_dir
        for info in file.infolist()[:member]:
            at += 46 + len(info.filename)
    return body[:at + field] + struct.pack("<I", value) + body[at + field + 4:]


def test_members_that_lie_about_their_place(driver, small, tmp_path):
    body = small[:-72]
    lies = [patched(body, m, field, value) for m in range(4) for field in (20, 24, 42)
            for value in (0, 1, len(body), len(body) + 1, 0x7FFFFFFF, 0xFFFFFFFF)]
    lies = [lie for lie in lies if lie != body]
    refused(driver, tmp_path, list(map(sealed, lies)))


def test_a_full_disk_leaves_nothing(ec_run, artifact, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run([ec_run, "--install", artifact.path, tmp_path / "to"], capture_output=True, text=True,
                          preexec_fn=limit)
    assert done.returncode == 2 and "cannot be written" in done.stderr
    assert not any((tmp_path / "to").iterdir())


def test_not_a_bundle(ec_run, tmp_path):
    (tmp_path / "text").write_text("hello" * 100)
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "text", tmp_path / "fifo", tmp_path, tmp_path / "missing", Path("/dev/zero")):
        done = subprocess.run([ec_run, "--install", path, tmp_path / "to"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and not (tmp_path / "to").exists()
