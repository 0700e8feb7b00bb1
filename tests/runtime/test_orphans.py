"""edgecls is killed outright: what it has started ends by itself."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from edgecls.targets import host_arch
from edgecls.types import Artifact

ROOT = Path(__file__).parents[2]
PROGRAM = """
import struct, sys
from edgecls.bundle import open_bundle
from edgecls.devices import open_device
from edgecls.runtime.serve import open_serve_session
from edgecls.runtime.wire import Request

artifact = open_bundle(__import__("pathlib").Path(sys.argv[1]))
with open_device("qemu", artifact.manifest.target) as device, open_serve_session(artifact, device) as session:
    print("opened", flush=True)
    MINUTES_OF_WORK
"""
SERVING = 'session._wire.request(Request.MEASURE, [struct.pack("<III", 1, 1_000_000, 1_000_000)], length=8_000_000)'
COUNTING = 'device.count_instructions([*session._argv, "--batch", "2", "--runs", "1000000"])'
ARCH = "armv7" if host_arch() == "aarch64" else "aarch64"


@pytest.mark.parametrize("work", [SERVING, COUNTING], ids=["serving", "counting"])
def test_a_killed_program_leaves_no_emulator_behind(tiny_bundle: Callable[..., Artifact], work: str) -> None:
    program = PROGRAM.replace("MINUTES_OF_WORK", work)
    with subprocess.Popen([sys.executable, "-c", program, tiny_bundle(ARCH).path], stdout=subprocess.PIPE,
                          cwd=ROOT) as edgecls:
        assert edgecls.stdout and edgecls.stdout.readline() == b"opened\n"
        emulators = busy(psutil.Process(edgecls.pid), 1 if work == SERVING else 2)
        edgecls.kill()
    gone, alive = psutil.wait_procs(emulators, timeout=5)
    for process in alive:
        process.kill()
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], f"{len(gone)} of {len(emulators)} ended"


def busy(parent: psutil.Process, count: int) -> list[psutil.Process]:
    """The emulators it has started, once there are `count` and the last has been at work for half a second."""
    while True:
        children = [p for p in parent.children() if "qemu" in p.name()]
        if len(children) == count and sum(max(children, key=lambda p: p.create_time()).cpu_times()[:2]) > 0.5:
            return children
        time.sleep(0.05)
