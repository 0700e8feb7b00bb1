from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecls.errors import TargetError
from edgecls.targets import FEATURES, feature_mask, list_targets, load_target, parse_target
from edgecls.targets.load import FOLDER, flatten
from edgecls.types import Target

NAMES = {"raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "jetson-orin", "aarch64", "armv7", "x86-64-avx2",
         "x86-64-avx512", "rtx-3060", "rtx-4090", "rtx-5090", "t4", "l4", "h100"}
PI = (FOLDER / "raspberry-pi-4.toml").read_bytes()
ORIN = (FOLDER / "jetson-orin.toml").read_bytes()


def test_every_promised_target_is_there():
    assert {target.name for target in list_targets()} == NAMES
    assert {path.stem for path in FOLDER.iterdir()} == NAMES


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.name)
def test_shipped_target(target):
    assert load_target(target.name) == target == load_target(FOLDER / f"{target.name}.toml")
    assert feature_mask(target.cpu.features).bit_count() == len(target.cpu.features)
    keys = flatten(target)
    for key, value in keys.items():  # the origin of a number is given for it, or for the part it belongs to
        if isinstance(value, int | float) or key in ("os.glibc", "gpu.compute_capability", "qemu_cpu"):
            parts = key.split(".")
            if value is not None and (value or key != "cpu.cache.l3"):
                assert any(".".join(parts[:n]) in target.sources for n in range(1, len(parts) + 1)), key
    for key, source in target.sources.items():
        assert "assumed" not in source or source.startswith("assumed, because "), key
        assert any(known == key or known.startswith(f"{key}.") for known in keys), key


@pytest.mark.parametrize("name, arch, cpu", [
    ("raspberry-pi-3", "aarch64", "cortex-a53"), ("raspberry-pi-4", "aarch64", "cortex-a72"),
    ("raspberry-pi-5", "aarch64", "cortex-a76"), ("jetson-orin", "aarch64", "cortex-a78ae"),
    ("aarch64", "aarch64", "generic"), ("armv7", "armv7", "cortex-a7"), ("x86-64-avx2", "x86_64", "haswell"),
    ("x86-64-avx512", "x86_64", "skylake-avx512"), ("h100", "x86_64", "haswell")])
def test_what_llvm_is_told(name, arch, cpu):
    target = load_target(name)
    assert (target.cpu.arch, target.cpu.name) == (arch, cpu)


def test_llvm_gives_each_cpu_the_features_the_target_names():
    import tvm
    from tvm.target import codegen

    words = {"neon": "neon", "crc": "crc", "lse": "lse", "dotprod": "dotprod", "fp16": "fullfp16", "vfpv4": "vfp4"}
    triples = {"aarch64": "aarch64-linux-gnu", "armv7": "armv7l-linux-gnueabihf", "x86_64": "x86_64-linux-gnu"}
    for target in list_targets():
        llvm = {"kind": "llvm", "mtriple": triples[target.cpu.arch], "mcpu": target.cpu.name}
        known = set(map(str, codegen.llvm_get_cpu_features(tvm.target.Target(llvm))))
        for feature in target.cpu.features:
            word = words.get(feature, feature)
            assert word in known or (target.cpu.name == "generic" and word == "neon"), (target.name, feature)


def test_features_are_the_bits_of_the_header():
    header = Path(__file__).parents[2] / "edgecls" / "runtime" / "c" / "include" / "ec_model.h"
    bits = dict(re.findall(r"#define EC_FEATURE_(\w+) \(1ull << (\d+)\)", header.read_text()))
    assert {name.lower(): 1 << int(bit) for name, bit in bits.items()} == FEATURES


def test_unknown_feature_word():
    with pytest.raises(TargetError, match="'sse9'"):
        feature_mask(["neon", "sse9"])


def test_unknown_target_names_the_closest_and_all():
    with pytest.raises(TargetError, match="did you mean 'raspberry-pi-4'") as caught:
        load_target("raspberri-pi-4")
    assert all(name in caught.value.hint for name in NAMES | {"native"})


def test_a_users_file_by_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my board.toml").write_bytes(PI.replace(b'name = "raspberry-pi-4"', b'name = "mine"').replace(
        b"[cpu]", b'cc = ["my-gcc", "-O1"]\n[cpu]', 1))
    target = load_target("my board.toml")
    assert (target.name, target.cc) == ("mine", ("my-gcc", "-O1"))
    assert load_target("./my board.toml") == target


@pytest.mark.parametrize("before, after, key, hint", [
    (b'arch = "aarch64"', b'arch = "mips"', "cpu.arch", "x86_64, aarch64, armv7"),
    (b"cores = 4", b"coers = 4", "cpu: unknown key 'coers'; did you mean 'cores'?", "clock_mhz"),
    (b"cores = 4", b"cores = true", "cpu.cores", "1 to 4096"),
    (b"cores = 4", b"cores = 0", "cpu.cores: 0 is not allowed", "1 to 4096"),
    (b"cores = 4", b'cores = "4"', "cpu.cores: expected `int`", "1 to 4096"),
    (b"cores = 4\n", b"", "cpu.cores: is missing", "correct the file"),
    (b"l2 = ", b"l2 = -", "cpu.cache.l2", "0 to"),
    (b"line = 64", b"line = 48", "cpu.cache.line", "32, 64, 128 or 256"),
    (b'["neon", "crc"]', b'["neon", "avx2"]', "cpu.features: 'avx2'", "for aarch64"),
    (b'["neon", "crc"]', b'["neon", 1]', "cpu.features", "a list of texts"),
    (b'glibc = "2.31"', b'glibc = "2.31.1"', "os.glibc", '"2.28"'),
    (b'glibc = "2.31"', b'glibc = "2.31"\nkernel = "qnx"', "os.kernel", '"linux"'),
    (b'name = "cortex-a72"', b'name = "-x"', "cpu.name", "starting with a letter"),
    (b'qemu_cpu = "cortex-a72"', b'qemu_cpu = "a b"', "qemu_cpu", "starting with a letter"),
    (b"vector_bits = 128", b"vector_bits = 100", "cpu.vector_bits", "128, 256 or 512"),
    (b"memory_mb = 1024", b"memory_mb = 1024\ncc = []", "cc", "aarch64-linux-gnu-gcc"),
    (b"memory_mb = 1024", b"memory_mb = 1024\ngpu = 3", "gpu: expected a table", "the keys name"),
    (b"memory_mb = 1024", b"memory_mb =", "is not TOML", "correct the file"),
    (b"memory_mb = 1024", b"memory_mb = 1024\nmemory_mb = 1", "is not TOML", "correct the file"),
    (b"memory_mb = 1024", b"memory_mb = " + b"1" * 5000, "is not TOML", "correct the file"),
    (b"memory_mb = 1024", b"memory_mb = " + b"[" * 50000, "is not TOML", "correct the file"),
    (b"memory_mb = 1024", b"memory_mb = \xff", "is not TOML", "correct the file"),
])
def test_a_mistake_names_file_key_and_remedy(before, after, key, hint, tmp_path):
    assert PI.count(before)
    path = tmp_path / "board.toml"
    path.write_bytes(PI.replace(before, after, 1))
    with pytest.raises(TargetError) as caught:
        load_target(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert key in caught.value.message and hint in caught.value.hint


def test_compute_capability_is_checked():
    with pytest.raises(TargetError, match=r"gpu\.compute_capability"):
        parse_target(ORIN.replace(b'"8.7"', b'"sm_87"'), "x.toml")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "big.toml").write_bytes(b"#" * (2 << 20))
    for path in (tmp_path, tmp_path / "absent.toml", tmp_path / "big.toml", "nul\0.toml"):
        with pytest.raises(TargetError):
            load_target(path)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_are_never_anything_but_a_target_error(data):
    text = bytearray(ORIN)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text) - 1))
        text[start:start + data.draw(st.integers(0, 12))] = data.draw(st.binary(max_size=6))
    try:
        assert isinstance(parse_target(bytes(text), "x.toml"), Target)
    except TargetError as error:
        assert error.message.startswith("x.toml: ") and error.hint


LITERALS = ("true", "0", "1", "-1", "3.5", "nan", "1e400", "9" * 30, "'x'", "''", "'8.7'", "'2.28'", "[]", "[1]",
            "['a']", "{}", "{ l1d = 1 }", "[[], {}]", "1979-05-27", "07:32:00", "'\\u0000'", '"\\u0000"', '"\\ud800"',
            "0x7fffffffffffffff")
LINES = [n for n, line in enumerate(ORIN.splitlines()) if b" = " in line]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(LINES), st.sampled_from((None, *LITERALS)))
def test_wrong_values_are_never_anything_but_a_target_error(number, literal):
    """Every key loses its line or gets any value; what is accepted must be usable."""
    lines = ORIN.splitlines()
    lines[number] = b"" if literal is None else lines[number].partition(b" = ")[0] + f" = {literal}".encode()
    try:
        target = parse_target(b"\n".join(lines), "x.toml")
    except TargetError as error:
        assert error.message.startswith("x.toml: ") and error.hint
    else:
        assert target.cpu.cores >= 1 and target.cpu.cache.l1d > 0 and feature_mask(target.cpu.features) >= 0
