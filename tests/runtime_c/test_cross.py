"""The runtime as ARM code, executed by qemu: dynamic with Debian's C libraries, static with musl."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.runtime_c import tiny

BOARDS = {
    "aarch64": ("aarch64-linux-gnu", "qemu-aarch64", "cortex-a72", ()),
    "armv7": ("arm-linux-gnueabihf", "qemu-arm", "cortex-a7", ("-march=armv7-a", "-mfpu=neon-vfpv4")),
}


def require(*programs: str) -> None:
    missing = [p for p in programs if shutil.which(p) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.mark.parametrize("arch", BOARDS)
def test_installs_and_runs_as_arm_code(arch, tmp_path):
    triple, qemu, cpu, flags = BOARDS[arch]
    cc = (f"{triple}-gcc", *flags)
    require(cc[0], qemu)
    ec_run = tiny.compile_c(cc, tmp_path / "ec_run", tiny.sources(program=True), "-ldl")
    driver = tiny.compile_c(cc, tmp_path / "driver", [tiny.HERE / "driver.c", *tiny.sources(program=False)],
                            "-Wno-conversion", "-ldl")
    bundle = tiny.bundle(tmp_path / "tiny.ecls", tiny.members(tmp_path, cc, arch))

    def run(*command):
        emulated = [qemu, "-cpu", cpu, "-L", f"/usr/{triple}", *map(str, command)]
        done = subprocess.run(emulated, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    status, folder, error = run(ec_run, "--install", bundle.path, tmp_path / "to")
    assert status == 0, error
    folder = folder.strip()
    expected = [tiny.network(tiny.golden_input(batch)).tobytes().hex() for batch in (1, 2)]
    for threads in ("1", "2", "4"):
        assert run(driver, "outputs", folder, threads) == (0, "\n".join([*expected, "done", ""]), "")
    assert run(ec_run, folder, "--selftest", "--threads", "2")[0] == 0


def test_a_bundle_for_another_processor_is_refused(ec_run, tmp_path, members):
    header = bytearray(members["header.bin"])
    header[12] = tiny.ARCHS["aarch64"]
    folder = tiny.unpack(tmp_path / "installed", {**members, "header.bin": bytes(header)})
    done = subprocess.run([ec_run, folder, "--selftest"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "ec_run: wrong device: compiled for AArch64, this program runs on x86-64\n"


def static_program(cc, folder):
    """Two models linked into one program."""
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    other = tiny.BUILD_ID[::-1]
    tiny.write_config(folder / "a", embed=True)
    tiny.write_config(folder / "b", embed=True, build_id=other, name="other")
    objects = [tiny.compile_c(cc, folder / name / "tiny.o", [tiny.HERE / "tiny.c"], "-c", f"-I{folder / name}")
               for name in ("a", "b")]
    (folder / "models.c").write_text(f"""#include "ec_model.h"
extern const ec_model ec_model_{tiny.BUILD_ID}, ec_model_{other};
extern const ec_model *const ec_static_models[];
const ec_model *const ec_static_models[] = {{&ec_model_{tiny.BUILD_ID}, &ec_model_{other}, 0}};
""")
    return tiny.compile_c(cc, folder / "ec_run", [*tiny.sources(program=True), folder / "models.c", *objects],
                          "-DEC_STATIC_ONLY", "-static"), other


def check_static(command, other):
    for name in ("@", "@tiny", "@other", f"@{other}"):
        done = subprocess.run([*command, name, "--selftest", "--threads", "2"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("ok"), done.stderr
    for name in ("@none", "/tmp"):
        done = subprocess.run([*command, name, "--selftest"], capture_output=True, text=True)
        assert done.returncode == 2 and "only run the models linked into it" in done.stderr


def test_two_models_in_one_static_program(tmp_path):
    program, other = static_program(("gcc",), tmp_path)
    check_static([program], other)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["aarch64-linux-musl", "arm-linux-musleabihf"])
def test_static_musl_programs_from_zig(target, tmp_path):
    pytest.importorskip("ziglang")
    qemu = "qemu-aarch64" if target.startswith("aarch64") else "qemu-arm"
    require(qemu)
    program, other = static_program((sys.executable, "-m", "ziglang", "cc", "-target", target), tmp_path)
    check_static([qemu, program], other)
