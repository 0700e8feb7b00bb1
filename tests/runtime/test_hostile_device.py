"""open_serve_session and its session against an ec_run that lies: one clear error each, and no process left over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_device import FakeDevice

from edgecls.errors import BundleError, DeviceError, EdgeclsError
from edgecls.runtime.serve import open_serve_session
from edgecls.targets import host_arch
from edgecls.types import Artifact, MeasureSettings

TINY = Callable[..., Artifact]

# Answers DESCRIBE as the real one would; INSTALL and ANSWER are where it lies.
SCRIPT = """
import json, struct, sys, time
DESCRIPTION = json.loads({description!r})
def send(kind, number, payload):
    sys.stdout.buffer.write(struct.pack("<IHHII", 0x56534345, 1, kind, number, len(payload)) + payload)
    sys.stdout.buffer.flush()
if "--install" in sys.argv:
    {install}
    sys.exit(0)
while header := sys.stdin.buffer.read(16):
    _, _, kind, number, length = struct.unpack("<IHHII", header)
    body = sys.stdin.buffer.read(length)
    if kind == 1:
        send(0x8001, number, json.dumps(DESCRIPTION).encode())
    elif kind == 9:
        send(0x8009, number, b"")
        break
    else:
        {answer}
"""
GOOD_INSTALL = "print('/pushed/' + 64 * 'a')"


def describe(artifact: Artifact, **changes: Any) -> dict[str, Any]:
    manifest = artifact.manifest
    plain = {
        "protocol": 1, "version": "0.1.0", "build_id": manifest.symbol.removeprefix("ec_model_"), "name": "tiny",
        "arch": manifest.target.cpu.arch, "threads": 1,
        "inputs": msgspec.to_builtins(manifest.inputs), "outputs": msgspec.to_builtins(manifest.outputs),
        "plans": [{"batch": p.batch, "arena_bytes": p.arena_bytes, "workspace_bytes": p.workspace_bytes_per_thread,
                   "calls": p.calls} for p in manifest.plans],
    }
    return {**plain, **changes}


@pytest.fixture
def liar(tmp_path: Path, tiny_bundle: TINY) -> Callable[..., tuple[Artifact, FakeDevice]]:
    def make(install: str = GOOD_INSTALL, answer: str = "pass", emulated: bool = False, counts: tuple[int, ...] = (),
             **changes: Any) -> tuple[Artifact, FakeDevice]:
        artifact = tiny_bundle(host_arch())
        script = tmp_path / "ec_run.py"
        script.write_text(SCRIPT.format(description=json.dumps(describe(artifact, **changes)), install=install,
                                        answer=answer))
        return artifact, FakeDevice(script, host_arch(), emulated, counts)
    return make


LIAR = Callable[..., tuple[Artifact, FakeDevice]]


def assert_all_ended(device: FakeDevice) -> None:
    assert device.processes and all(p._process.poll() is not None for p in device.processes)


def test_an_honest_fake_is_opened(liar: LIAR) -> None:
    artifact, device = liar(answer="send(0x8002, number, bytes(16))")
    with open_serve_session(artifact, device) as session:
        logits = session.run({"image": np.zeros((1, 3, 8, 8), np.float32)})["logits"]
    assert logits.tolist() == [[0, 0, 0, 0]]
    assert_all_ended(device)


@pytest.mark.parametrize("changes", [
    {"build_id": "0" * 32}, {"arch": "mips"}, {"threads": 2}, {"inputs": []},
    {"outputs": [{"name": "logits", "dtype": "float32", "shape": [1, 5]}]},
    {"plans": []}, {"plans": [{"batch": 1, "arena_bytes": 1, "workspace_bytes": 1, "calls": 1 << 40}]},
    {"protocol": "1"}, {"surprise": 1}, {"inputs": [{"name": "image", "dtype": "float32", "shape": [1, "3"]}]},
])
def test_a_process_that_opened_another_model(liar: LIAR, changes: dict[str, Any]) -> None:
    artifact, device = liar(**changes)
    with pytest.raises(DeviceError, match=r"another|cannot be read"):
        open_serve_session(artifact, device)
    assert_all_ended(device)


@pytest.mark.parametrize(("install", "kind", "reason"), [
    ("sys.exit('ec_run: damaged bundle: its hash is wrong')", BundleError, "fake: its hash is wrong"),
    ("sys.exit('ec_run: input/output error: disk full')", DeviceError, "fake: disk full"),
    ("sys.exit('Bus error')", DeviceError, "status 1: Bus error"),
    ("print('/etc')", DeviceError, "not a folder"),
    ("print('/pushed/a\\nb')", DeviceError, "not a folder"),
    ("print('/pushed/\\x1b[2J')", DeviceError, "not a folder"),
    ("pass", DeviceError, "not a folder"),
    ("sys.stdout.write('/pushed/' + 'a' * 100000)", DeviceError, "not a folder"),
    ("sys.stdout.buffer.write(b'/pushed/\\xff\\n')", DeviceError, "not a folder"),
])
def test_an_installation_that_fails_or_answers_nonsense(
        liar: LIAR, install: str, kind: type[EdgeclsError], reason: str) -> None:
    artifact, device = liar(install=install)
    with pytest.raises(kind, match=reason) as caught:
        open_serve_session(artifact, device)
    assert "\x1b" not in str(caught.value)
    assert_all_ended(device)


@pytest.mark.parametrize(("answer", "kind", "reason"), [
    ("sys.exit('Segmentation fault')", DeviceError, "ended with status 1 .*Segmentation fault"),
    ("sys.exit('ec_run: not enough memory: 3 MB are free')", DeviceError, "fake: 3 MB are free"),
    ("import os; os.abort()", DeviceError, "ended with status"),
    ("send(0x8002, number, bytes(15))", DeviceError, "15 bytes"),
    ("send(0x8002, number + 1, bytes(16))", DeviceError, "request"),
    ("sys.stdout.buffer.write(bytes(100)); sys.stdout.flush()", DeviceError, "does not speak"),
    ("send(0xFFFF, number, b'\\x03\\0\\0\\0weights.bin: is damaged')", BundleError, "is damaged"),
])
def test_a_run_that_fails(liar: LIAR, answer: str, kind: type[EdgeclsError], reason: str) -> None:
    artifact, device = liar(answer=answer)
    with open_serve_session(artifact, device) as session, pytest.raises(kind, match=reason):
        session.run({"image": np.zeros((1, 3, 8, 8), np.float32)})
    assert_all_ended(device)


@pytest.mark.parametrize("lie", [{"install": "time.sleep(600)"}, {"answer": "time.sleep(600)"}])
def test_a_device_that_hangs(liar: LIAR, lie: dict[str, str]) -> None:
    artifact, device = liar(**lie)
    device.patience_s = 1.0
    with (pytest.raises(DeviceError, match="fake: ec_run has been silent for 1 seconds") as caught,
          open_serve_session(artifact, device) as session):
        session.run({"image": np.zeros((1, 3, 8, 8), np.float32)})
    assert "--timeout" in caught.value.hint
    assert_all_ended(device)


def test_a_process_that_stopped_reading_does_not_hang_a_large_request(liar: LIAR) -> None:
    artifact, device = liar()
    session = open_serve_session(artifact, device)
    device.processes[-1]._process.kill()
    with pytest.raises(DeviceError, match="ended with status -9"):
        session.run({"image": np.zeros((2, 3, 8, 8), np.float32)})


def test_a_profile_of_layers_that_do_not_exist(liar: LIAR) -> None:
    artifact, device = liar(answer="send(0x8006, number, struct.pack('<IIQIIQ', 0, 0, 9, 4, 0, 9))")
    with open_serve_session(artifact, device) as session, pytest.raises(DeviceError, match="layer 4"):
        session.profile()


def test_facts_are_merged_on_a_board_and_kept_apart_under_emulation(liar: LIAR) -> None:
    said = {"machine": "said", "cpu_model": "said\x1b[2J", "governor": "said", "load": 9.0, "cores": 64,
            "clocks_mhz": [1.5], "temperature_c": 99.0, "libc": "glibc 2.36", "memory_total_mb": 7}
    answer = f"send(0x8007, number, {json.dumps(said).encode()!r})"
    artifact, device = liar(answer=answer)
    with open_serve_session(artifact, device) as session:
        facts = session.facts()
    assert (facts.name, facts.machine) == ("fake", "fake"), "who it is, is not for the program to say"
    assert facts.cpu_model == "said�[2J" and facts.load == 9.0 and facts.clocks_mhz == (1.5,)
    artifact, device = liar(answer=answer, emulated=True)
    with open_serve_session(artifact, device) as session:
        facts = session.facts()
    assert facts.libc == "glibc 2.36"
    assert (facts.cpu_model, facts.cores, facts.governor, facts.clocks_mhz, facts.temperature_c, facts.load,
            facts.memory_total_mb) == (None,) * 7


def test_instructions_are_five_runs_minus_one_over_four(liar: LIAR) -> None:
    artifact, device = liar(emulated=True, counts=(1400, 600))
    with open_serve_session(artifact, device) as session:
        samples = session.measure(MeasureSettings(batch=2))
    assert (samples.kind, samples.values) == ("instructions", (200,))
    assert [argv[argv.index("--runs") + 1] for argv in device.counted] == ["5", "1"]
    assert all(argv[:2] == ["/pushed/ec_run", "/pushed/" + 64 * "a"] for argv in device.counted)


@pytest.mark.parametrize("counts", [(None,), (600, 600), (600, 1400)])
def test_counts_that_cannot_be(liar: LIAR, counts: tuple[int | None, ...]) -> None:
    artifact, device = liar(emulated=True, counts=counts)
    with open_serve_session(artifact, device) as session, pytest.raises(DeviceError, match="count"):
        session.measure(MeasureSettings())


@pytest.mark.parametrize("spec", [{"dtype": "complex64"}, {"shape": (1, -3, 8, 8)}, {"shape": (1 << 40, 1 << 40)}])
def test_a_manifest_with_impossible_tensors(liar: LIAR, spec: dict[str, Any]) -> None:
    artifact, device = liar()
    bad = msgspec.structs.replace(artifact.manifest.inputs[0], **spec)
    manifest = msgspec.structs.replace(artifact.manifest, inputs=(bad,))
    with pytest.raises(BundleError, match="image"):
        open_serve_session(msgspec.structs.replace(artifact, manifest=manifest), device)


def changed(artifact: Artifact, **fields: Any) -> Artifact:
    return msgspec.structs.replace(artifact, manifest=msgspec.structs.replace(artifact.manifest, **fields))


@pytest.mark.parametrize("fact", [{"arena_bytes": 1 << 60}, {"calls": 3}, {"workspace_bytes_per_thread": 0}])
def test_a_manifest_that_says_other_things_than_its_model(liar: LIAR, fact: dict[str, int]) -> None:
    artifact, device = liar()
    first, *others = artifact.manifest.plans
    bad = changed(artifact, plans=(msgspec.structs.replace(first, **fact), *others))
    with pytest.raises(BundleError, match="its manifest says batch 1"):
        open_serve_session(bad, device)
    assert_all_ended(device)


def test_a_manifest_with_impossible_batches_or_without_plans(liar: LIAR) -> None:
    artifact, device = liar()
    with pytest.raises(BundleError, match="batch size of 1099511627776"):
        open_serve_session(changed(artifact, batches=(1, 1 << 40)), device)
    with pytest.raises(BundleError, match="plans"):
        open_serve_session(changed(artifact, plans=()), device)
