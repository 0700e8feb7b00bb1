"""Real emulators, real cross compilers: what lies between them and a mistake in either is a DeviceError."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from elftools.elf.elffile import ELFFile

from edgecls.devices import QemuDevice
from edgecls.errors import DeviceError, ToolchainError
from edgecls.interfaces import Device
from edgecls.targets import list_targets, load_target
from edgecls.toolchain import find_toolchain
from edgecls.types import DeviceFacts


@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", ["raspberry-pi-4", "armv7"])
def test_runs_a_program_with_pipes(name, static, echo_program):
    target = load_target(name)
    with QemuDevice(target) as device:
        assert isinstance(device, Device) and device.emulated and device.arch == target.cpu.arch
        folder = device.push({"echo": echo_program(target.cpu.arch, static)})
        process = device.start([f"{folder}/echo"])
        process.stdin.write(b"hello\n")
        assert process.stdout.read(64) == b"got hello\n"
        process.stdin.close()
        assert process.wait(60) == 3
        assert process.errors() == "bye\n"
        process.close()
    assert not Path(folder).exists()


@pytest.mark.parametrize("name", ["raspberry-pi-4", "armv7"])
def test_counts_instructions_repeatably(name, echo_program):
    """The program's loop runs 100,000 times, at three to ten instructions each."""
    target = load_target(name)
    with QemuDevice(target) as device:
        argv = [str(echo_program(target.cpu.arch)), "count"]
        first, second = device.count_instructions(argv), device.count_instructions(argv)
    assert abs(first - second) <= 1e-5 * first
    assert 300_000 < first < 1_200_000


def test_count_sees_every_loop(tmp_path, echo_program):
    """Twice the work must add exactly what the loop costs: the difference of two differences is nothing."""
    (tmp_path / "loop.c").write_text("#include <stdlib.h>\nint main(int c, char **v) { (void)c; "
                                     "for (volatile long i = atol(v[1]); i; i--) {} return 0; }")
    find_toolchain("aarch64", static=True).run(["-O1", "-static", "loop.c", "-o", "loop"], cwd=tmp_path)
    with QemuDevice(load_target("aarch64")) as device:
        one, two, three = (device.count_instructions([str(tmp_path / "loop"), str(n)])
                           for n in (100_000, 200_000, 300_000))
    assert abs((three - two) - (two - one)) <= 10
    assert (two - one) % 100_000 <= 10


def test_blocks_know_their_place_and_part(tmp_path):
    """What a function calls belongs to the part that began with the function."""
    (tmp_path / "parts.c").write_text("""
        __attribute__((noinline)) void work(int n) { for (volatile int i = n; i; i--) {} }
        __attribute__((noinline)) void one(void) { work(1000); __asm__ volatile("nop"); }
        __attribute__((noinline)) void two(void) { work(500); __asm__ volatile("hint 0"); }
        int main(void) { work(70); one(); two(); one(); return 0; }""")
    program = tmp_path / "parts"
    find_toolchain("aarch64", static=True).run(["-O1", "-static", "parts.c", "-o", "parts"], cwd=tmp_path)
    with program.open("rb") as file:
        elf = ELFFile(file)
        symbols = elf.get_section_by_name(".symtab")
        starts = [next(elf.address_offsets(symbols.get_symbol_by_name(name)[0]["st_value"])) for name in ("one", "two")]
    with QemuDevice(load_target("aarch64")) as device:
        blocks = device.executed_blocks([str(program)], str(program), starts)
        instructions = device.count_instructions([str(program)])
    assert sum(block.executed * len(block.code) for block in blocks) == instructions
    loop = {part: max(b.executed for b in blocks if b.part == part and b.file == str(program)) for part in (0, 1, 2)}
    assert 1990 <= loop[1] <= 2010 and 490 <= loop[2] <= 510
    entered = {block.offset: block.executed for block in blocks if block.offset in starts}
    assert entered == {starts[0]: 2, starts[1]: 1}


def test_guest_environment_and_root(tmp_path):
    (tmp_path / "env.c").write_text('#include <stdlib.h>\nint main(void) { return getenv("ASKED") ? 0 : 9; }')
    find_toolchain("aarch64", static=True).run(["-static", "env.c", "-o", "env"], cwd=tmp_path)
    target = load_target("aarch64")
    with QemuDevice(target, tmp_path, {"ASKED": "1"}) as device:
        assert device.count_instructions([str(tmp_path / "env")]) > 0
    with QemuDevice(target, tmp_path) as device, pytest.raises(DeviceError, match="status 9"):
        device.executed_blocks([str(tmp_path / "env")])


def test_facts_hold_nothing_of_this_machine():
    with QemuDevice(load_target("raspberry-pi-5")) as device:
        facts = device.facts()
    assert facts.emulator and facts.emulator.startswith("qemu-aarch64 version ")
    assert facts == DeviceFacts(name="qemu:cortex-a76", machine="aarch64", emulated=True, emulator=facts.emulator)


def test_environment_does_not_reach_the_program(tmp_path, monkeypatch, echo_program):
    """Variables lie on the guest's stack: they would change what is counted."""
    argv = [str(echo_program("aarch64")), "count"]
    with QemuDevice(load_target("aarch64")) as device:
        before = device.count_instructions(argv)
        monkeypatch.setenv("EDGECLS_TEST_FILLER", "x" * 5000)
        assert abs(device.count_instructions(argv) - before) <= 1e-5 * before


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.name)
def test_every_targets_cpu_is_known_to_qemu(target):
    if target.qemu_cpu is None:
        with pytest.raises(DeviceError, match="no emulated CPU"):
            QemuDevice(target)
    else:
        QemuDevice(target).close()


def test_unknown_cpu():
    target = msgspec.structs.replace(load_target("raspberry-pi-4"), qemu_cpu="cortex-a7")
    with pytest.raises(DeviceError, match="no CPU 'cortex-a7'") as caught:
        QemuDevice(target)
    assert "-cpu help" in caught.value.hint


def test_missing_qemu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="qemu-aarch64 is not installed") as caught:
        QemuDevice(load_target("raspberry-pi-4"))
    assert caught.value.hint == "run: apt install qemu-user"


def test_missing_sysroot(monkeypatch, tmp_path, echo_program):
    monkeypatch.setenv("QEMU_LD_PREFIX", str(tmp_path))
    with QemuDevice(load_target("armv7")) as device:
        with pytest.raises(DeviceError, match=r"needs /lib/ld-linux-armhf\.so\.3") as caught:
            device.start([str(echo_program("armv7", False))])
        assert "apt install libc6-armhf-cross" in caught.value.hint
        assert device.count_instructions([str(echo_program("armv7", True)), "x"]) > 0  # a static one needs none


def test_missing_compiler_for_the_counter(monkeypatch, tmp_path, echo_program):
    program = str(echo_program("aarch64"))
    with QemuDevice(load_target("aarch64")) as device:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ToolchainError, match="no C compiler") as caught:
            device.count_instructions([program, "x"])
        assert "apt install" in caught.value.hint and "pip install ziglang" in caught.value.hint


def test_programs_that_are_not_for_this_cpu(tmp_path, echo_program):
    (tmp_path / "text").write_text("no program")
    with QemuDevice(load_target("aarch64")) as device:
        with pytest.raises(DeviceError, match="is a program for armv7, not aarch64"):
            device.start([str(echo_program("armv7"))])
        with pytest.raises(DeviceError, match="not a sound ELF file"):
            device.start([str(tmp_path / "text")])
        with pytest.raises(DeviceError, match="cannot be read"):
            device.count_instructions([str(tmp_path / "absent")])


def test_program_that_fails_while_counted(tmp_path):
    (tmp_path / "fail.c").write_text('#include <stdio.h>\nint main(void) { fputs("no model\\n", stderr); return 4; }')
    find_toolchain("aarch64", static=True).run(["-static", "fail.c", "-o", "fail"], cwd=tmp_path)
    with QemuDevice(load_target("aarch64")) as device, pytest.raises(DeviceError, match=r"status 4 .*no model"):
        device.count_instructions([str(tmp_path / "fail")])


def test_cache_folder_with_a_comma(tmp_path, monkeypatch, echo_program):
    """qemu separates a plugin's options by commas."""
    (tmp_path / "a,b").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "a,b"))
    with QemuDevice(load_target("aarch64")) as device:
        assert device.count_instructions([str(echo_program("aarch64")), "x"]) > 300_000
    assert list((tmp_path / "a,b").iterdir()) == []
