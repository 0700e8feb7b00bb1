from __future__ import annotations

import os
import platform
import stat
from pathlib import Path

import msgspec
import pytest

from edgecls.devices import LocalDevice, host_lacks, open_device
from edgecls.devices.facts import make_facts
from edgecls.errors import DeviceError
from edgecls.interfaces import Device
from edgecls.targets import host_arch, host_features, load_target
from edgecls.types import Target

HOST = load_target({"x86_64": "x86-64-avx2", "aarch64": "aarch64", "armv7": "armv7"}[host_arch()])


def with_features(target: Target, features: tuple[str, ...]) -> Target:
    return msgspec.structs.replace(target, cpu=msgspec.structs.replace(target.cpu, features=features))


def test_push_start_and_clean_up(tmp_path, echo_program):
    data = tmp_path / "data"
    data.write_bytes(os.urandom(100_000))
    with LocalDevice() as device:
        assert isinstance(device, Device)
        folder = Path(device.push({"echo": echo_program(host_arch()), "data": data}))
        assert device.push({}) != str(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / "data").read_bytes() == data.read_bytes()
        process = device.start([str(folder / "echo")])
        process.stdin.write(b"hello\n")
        assert process.stdout.read(64) == b"got hello\n"
        process.stdin.close()
        assert process.wait(20) == 3
        assert process.errors() == "bye\n"
        process.close()
        assert device.count_instructions([str(folder / "echo")]) is None
    assert not folder.exists()


def test_close_stops_a_program_and_never_raises(echo_program):
    with LocalDevice() as device:
        process = device.start([str(echo_program(host_arch()))])
        with pytest.raises(DeviceError, match=r"did not end within 0\.01 seconds"):
            process.wait(0.01)
        process.close()
        process.close()
        assert process.wait(1) != 0
    device.close()


def test_talkative_program_does_not_block(tmp_path):
    script = tmp_path / "talk"
    script.write_text("#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x >&2\necho end >&2\n")
    script.chmod(0o755)
    with LocalDevice() as device:
        process = device.start([str(script)])
        assert process.wait(60) == 0
        assert process.errors().endswith("xend\n") and len(process.errors()) <= 65536
        process.close()


def test_what_cannot_be_started_or_pushed(tmp_path):
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with LocalDevice() as device:
        for argv in (["/nonexistent/program"], [str(tmp_path / "text")], [str(tmp_path)], ["a\0b"]):
            with pytest.raises(DeviceError, match="cannot be started"):
                device.start(argv)
        with pytest.raises(DeviceError, match="absent"):
            device.push({"x": tmp_path / "absent"})
        for name in ("../x", "a/b", "", ".", "..", ".x", "-x", "a b", "x" * 200, "a\n"):
            with pytest.raises(DeviceError, match="name of a file"):
                device.push({name: tmp_path / "text"})


def test_facts_are_those_of_this_machine():
    facts = LocalDevice().facts()
    assert (facts.machine, facts.kernel) == (platform.machine(), platform.release())
    assert facts.libc == " ".join(platform.libc_ver())
    assert facts.cores == os.cpu_count()
    assert facts.memory_total_mb == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def test_facts_of_a_board_and_of_nonsense():
    cpu = "/sys/devices/system/cpu"
    files = {"/proc/cpuinfo": "".join(f"processor\t: {n}\nFeatures\t: fp asimd crc32\n\n" for n in range(4)),
             "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
             "/etc/os-release": 'NAME="x"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
             "/proc/meminfo": "MemTotal:        3884320 kB\nMemAvailable:    3000000 kB\n",
             "/proc/loadavg": "0.52 0.58 0.59 1/389 12345\n",
             f"{cpu}/cpu10/cpufreq/scaling_cur_freq": "600000\n", f"{cpu}/cpu2/cpufreq/scaling_cur_freq": "1500000\n",
             f"{cpu}/cpu2/cpufreq/scaling_governor": "ondemand\n",
             f"{cpu}/cpu10/cpufreq/scaling_governor": "powersave\n",
             "/sys/class/thermal/thermal_zone0/temp": "48250\n", "/sys/class/thermal/thermal_zone1/temp": "-274000\n"}
    facts = make_facts("board", "aarch64", files, "glibc 2.36")
    assert facts.cpu_model == "Raspberry Pi 4 Model B Rev 1.4" and facts.cores == 4
    assert facts.os == "Debian GNU/Linux 12 (bookworm)" and facts.governor == "ondemand, powersave"
    assert facts.clocks_mhz == (1500.0, 600.0) and facts.temperature_c == 48.25 and facts.load == 0.52
    assert (facts.memory_total_mb, facts.memory_free_mb) == (3793, 2929)
    empty = make_facts("board", "\x1b[2J", dict.fromkeys(files, "\xff\0garbage: \x1b" + "9" * 9999), None)
    assert "\x1b" not in str(msgspec.to_builtins(empty))
    assert make_facts("b", "m", {}, None) == type(facts)(name="b", machine="m", emulated=False)


def test_open_device_by_what_this_machine_can_run():
    assert host_lacks(with_features(HOST, host_features())) is None
    with open_device(None, with_features(HOST, ()), patience_s=7) as device:
        assert device.patience_s == 7
        assert device.name == "local"
    other = load_target("armv7" if host_arch() != "armv7" else "aarch64")
    assert host_lacks(other) == f"this machine is {host_arch()}, not {other.cpu.arch}"
    with open_device(None, other) as device:
        assert device.name == f"qemu:{other.qemu_cpu}" and device.emulated
    with pytest.raises(DeviceError, match=r"not armv7|not aarch64") as caught:
        open_device("local", other)
    assert "--on qemu" in caught.value.hint
    with pytest.raises(DeviceError, match="lacks sve"):
        open_device("local", with_features(HOST, ("sve",)) if "sve" not in host_features() else other)
    with pytest.raises(DeviceError, match="unknown device 'board'"):
        open_device("board", HOST)
