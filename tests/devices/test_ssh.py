"""Everything here goes through a real ssh client and a real sshd on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.devices import LocalDevice, SshAddress, SshDevice, open_device
from edgecls.devices.ssh import arch_of
from edgecls.errors import DeviceError
from edgecls.interfaces import Device
from edgecls.passes import optimize_graph
from edgecls.pipeline import open_session
from edgecls.targets import host_arch, load_target, native_target
from edgecls.types import MeasureSettings
from tests.models import MODELS, random_feed

HOST_TARGET = load_target({"x86_64": "x86-64-avx2", "aarch64": "aarch64", "armv7": "armv7"}[host_arch()])


def connect(server) -> SshDevice:
    return SshDevice(SshAddress.parse(server.spec), server.config)


def test_push_start_and_clean_up(shared_server, tmp_path, echo_program):
    payload = tmp_path / "payload"
    payload.write_bytes(os.urandom(3_000_000))
    with connect(shared_server) as device:
        assert isinstance(device, Device)
        assert device.arch == host_arch()
        folder = Path(device.push({"echo": echo_program(host_arch()), "data.bin": payload}))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "data.bin").stat().st_mode) == 0o700
        assert hashlib.sha256((folder / "data.bin").read_bytes()).digest() == hashlib.sha256(
            payload.read_bytes()).digest()
        process = device.start([str(folder / "echo")])
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            assert process.stdout.read(64) == b"got " + line
        process.stdin.close()
        assert process.wait(20) == 3
        assert process.errors() == "bye\n"
        process.close()
        assert device.count_instructions([str(folder / "echo"), "x"]) is None
    assert shared_server.leftovers() == []


def test_arguments_arrive_as_they_are(shared_server, echo_program):
    with connect(shared_server) as device:
        folder = device.push({"echo": echo_program(host_arch())})
        for argument in ("$(touch owned)", "a'b\"c", "; exit 7", "*", "-n", "ü \\ !x", "two\nlines"):
            process = device.start([f"{folder}/echo", argument])
            said = b""
            while chunk := process.stdout.read(256):
                said += chunk
            assert process.wait(20) == 0
            process.close()
            assert said == argument.encode()


def test_facts_are_those_of_the_machine(shared_server):
    with connect(shared_server) as device:
        remote, local = device.facts(), LocalDevice().facts()
    assert remote.name == shared_server.spec and not remote.emulated and remote.emulator is None
    for key in ("machine", "cpu_model", "cores", "kernel", "os", "libc", "governor", "memory_total_mb"):
        assert getattr(remote, key) == getattr(local, key), key
    assert remote.cores and remote.memory_free_mb and remote.load is not None


def test_lost_connection_is_one_device_error_and_still_cleaned_up(server, echo_program):
    device = connect(server)
    folder = device.push({"echo": echo_program(host_arch())})
    process = device.start([f"{folder}/echo"])
    process.stdin.write(b"alive\n")
    assert process.stdout.read(64) == b"got alive\n"
    server.drop()
    assert process.stdout.read(64) == b""
    with pytest.raises(DeviceError, match="connection was lost") as caught:
        process.wait(20)
    assert server.spec in caught.value.message and "ssh -p" in caught.value.hint
    process.close()
    device.close()  # by a new connection, since the server still listens
    assert server.leftovers() == []


def test_dead_server_is_a_device_error_and_close_does_not_raise(server, echo_program):
    device = connect(server)
    device.push({"echo": echo_program(host_arch())})
    server.close()
    with pytest.raises(DeviceError, match="connection was lost"):
        device.push({"echo": echo_program(host_arch())})
    with pytest.raises(DeviceError):
        device.facts()
    device.close()


def test_program_left_running_is_stopped_with_its_folder(server, echo_program):
    device = connect(server)
    folder = device.push({"echo": echo_program(host_arch())})
    # its input stays open on the device, so that only being killed ends it
    process = device.start(["sh", "-c", f"sleep 600 | {folder}/echo & echo started; wait"])
    assert process.stdout.read(64) == b"started\n"

    def running() -> list[str]:
        found = []
        for link in Path("/proc").glob("[0-9]*/exe"):
            with contextlib.suppress(OSError):
                found.append(str(link.readlink()))
        return [path for path in found if path.startswith(folder)]

    for _ in range(200):
        if running():
            break
        time.sleep(0.05)
    assert running()
    device.close()
    process.close()
    assert not running() and server.leftovers() == []


def test_killed_program_is_not_taken_for_a_lost_connection(shared_server):
    with connect(shared_server) as device:
        process = device.start(["sh", "-c", "kill -9 $$"])
        assert process.wait(20) == 255
        process.close()


def test_refused_key_names_the_device(server, tmp_path):
    (tmp_path / "authorized").write_text("")
    with pytest.raises(DeviceError, match=r"cannot be reached.*Permission denied"):
        connect(server)


def test_unknown_host_key_is_refused(server, tmp_path):
    (tmp_path / "known").write_text("")
    with pytest.raises(DeviceError, match=r"cannot be reached.*Host key verification failed"):
        connect(server)


def test_nobody_listens(server):
    server.close()
    with pytest.raises(DeviceError, match=r"cannot be reached.*Connection refused"):
        connect(server)


def test_nowhere_to_write_on_the_device(server, tmp_path):
    (tmp_path / "payload").write_bytes(b"x")
    with connect(server) as device:
        with pytest.raises(DeviceError, match="cannot be read"):
            device.push({"payload": tmp_path / "absent"})
        with pytest.raises(DeviceError, match="name of a file"):
            device.push({"../payload": tmp_path / "payload"})
        with pytest.raises(DeviceError, match=r"cannot create|Directory nonexistent|No such file"):
            device._copy(tmp_path / "payload", f"{tmp_path}/absent/payload")
    assert server.leftovers() == []


def test_copy_that_arrives_damaged(server, tmp_path):
    """sha256sum on the device is what decides: let it answer for other bytes."""
    (tmp_path / "payload").write_bytes(b"sent")
    (tmp_path / "bin").mkdir()
    liar = tmp_path / "bin" / "sha256sum"
    liar.write_text("#!/bin/sh\necho damaged | exec /usr/bin/sha256sum\n")
    liar.chmod(0o755)
    config = tmp_path / "sshd_config"
    config.write_text(config.read_text().replace("SetEnv ", f"SetEnv PATH={tmp_path}/bin:/usr/bin:/bin "))
    server.close()
    server.start()
    with connect(server) as device, pytest.raises(DeviceError, match="differs"):
        device.push({"payload": tmp_path / "payload"})
    assert server.leftovers() == []


def test_missing_client(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="not installed") as caught:
        SshDevice(SshAddress.parse("ssh://pi@board"))
    assert "apt install openssh-client" in caught.value.hint


def test_open_device_checks_the_isa(shared_server, monkeypatch):
    monkeypatch.setenv("EDGECLS_SSH_CONFIG", str(shared_server.config))
    with open_device(shared_server.spec, HOST_TARGET) as device:
        assert device.name == shared_server.spec
    other = load_target("armv7" if host_arch() != "armv7" else "aarch64")
    with pytest.raises(DeviceError, match="but target"):
        open_device(shared_server.spec, other)


def test_isa_is_that_of_the_devices_programs():
    assert arch_of("aarch64", "64", "d") == arch_of("aarch64", "", "d") == "aarch64"
    assert arch_of("aarch64", "32", "d") == arch_of("armv7l", "32", "d") == "armv7"
    assert arch_of("x86_64", "64", "d") == "x86_64"
    with pytest.raises(DeviceError, match="is a mips"):
        arch_of("mips", "32", "d")


@pytest.mark.parametrize("spec", [
    "ssh://", "ssh://-oProxyCommand=touch x", "ssh://a@-oProxyCommand=x", "ssh://-l@host", "ssh://a b@host",
    "ssh://user@host:0", "ssh://user@host:65536", "ssh://user@host:", "ssh://user@host/path", "ssh://user@host\n",
    "ssh://u@h;id", "ssh://[::1", "ssh://user:secret@host", "ssh://$(id)@host", "SSH://user@host"])
def test_addresses_that_are_refused(spec):
    with pytest.raises(DeviceError):
        SshAddress.parse(spec)


@pytest.mark.parametrize("spec", ["ssh://pi@raspberrypi.local", "ssh://board", "ssh://a.b-c@10.0.0.7:2222",
                                  "ssh://root@[fe80::1]:22"])
def test_addresses_that_are_taken(spec):
    assert str(SshAddress.parse(spec)) == spec


@given(st.text(alphabet=st.sampled_from("-@:/[].ab1=$; \n%"), max_size=20))
def test_no_address_becomes_an_option(rest):
    try:
        arguments = SshAddress.parse(f"ssh://{rest}").arguments()
    except DeviceError:
        return
    assert arguments[-2] == "--"
    assert not arguments[-1].startswith("-") and "@-" not in arguments[-1]
    assert not set(arguments[-1]) & set("=$; \n%/")


def test_a_bundle_runs_over_ssh(server, tmp_path, monkeypatch):
    """The whole session: installed, answered and timed there, as on this machine, and nothing left."""
    graph = MODELS["classifier"]()
    artifact = TvmBackend().compile(optimize_graph(graph), native_target(), CompileOptions(), tmp_path / "m.ecls")
    monkeypatch.setenv("EDGECLS_SSH_CONFIG", str(server.config))
    feed = random_feed(graph)
    with open_session(artifact, server.spec, threads=2) as there, open_session(artifact, "local") as here:
        assert there.facts().name == server.spec and not there.emulated
        remote, local = there.run(feed), here.run(feed)
        assert remote.keys() == local.keys() and all(np.array_equal(remote[name], local[name]) for name in local)
        samples = there.measure(MeasureSettings(runs=20))
        assert samples.kind == "time_ns" and len(samples.values) == 20 and min(samples.values) > 0
        server.drop()
        with pytest.raises(DeviceError):
            there.run(feed)
    assert server.leftovers() == []
