"""What no program can undercut on this machine: multiply-adds at the measured peak, weights at the measured bandwidth.

Winograd does a convolution with fewer multiply-adds than are counted here, so it alone may beat the first floor.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edgecls.frozen import Frozen
from edgecls.targets import host_arch
from edgecls.toolchain import Toolchain, find_toolchain

_SOURCE = Path(__file__).with_name("floors.c")


class Rates(Frozen):
    """lanes: floats in a vector. flops_per_s: of registers; fed: of a matrix product in the first cache."""

    lanes: int
    flops_per_s: float
    fed_flops_per_s: float
    read_bytes_per_s: float

    def floor_ms(self, flops: float, bytes_read: float) -> float:
        """The larger of the two floors: arithmetic and reads may overlap."""
        return 1e3 * max(flops / self.flops_per_s, bytes_read / self.read_bytes_per_s)


class RateMeter:
    """The compiled micro-benchmark. One call of `measure` takes about half a second."""

    def __init__(self, folder: Path) -> None:
        """Build it in `folder` for this very CPU. Raises ToolchainError."""
        toolchain = find_toolchain(host_arch())
        self._program = folder / "floors"
        toolchain.run(["-O3", here(toolchain), "-ffp-contract=fast", "-pthread", str(_SOURCE),
                       "-o", str(self._program)])

    def measure(self, threads: int, weight_bytes: int) -> Rates:
        """weight_bytes: how much is read again and again, so that caches help as much as they help a network."""
        argv = [str(self._program), str(threads), str(max(weight_bytes, 1))]
        said = subprocess.run(argv, check=True, capture_output=True, preexec_fn=lambda: pin(threads)).stdout
        return msgspec.json.decode(said, type=Rates)


def here(toolchain: Toolchain) -> str:
    """The compiler's option for this very CPU."""
    return "-march=native" if host_arch() == "x86_64" and toolchain.kind != "zig" else "-mcpu=native"


def best(rates: Sequence[Rates]) -> Rates:
    """The best of each kind."""
    return Rates(lanes=rates[0].lanes, flops_per_s=max(r.flops_per_s for r in rates),
                 fed_flops_per_s=max(r.fed_flops_per_s for r in rates),
                 read_bytes_per_s=max(r.read_bytes_per_s for r in rates))


def cpus(threads: int) -> list[int]:
    """The CPUs that `threads` threads get: the last ones, as interrupts go to the first."""
    return sorted(os.sched_getaffinity(0))[-threads:]


def pin(threads: int) -> None:
    os.sched_setaffinity(0, cpus(threads))


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """This process and those it starts meanwhile are on the CPUs of `threads` threads."""
    before = os.sched_getaffinity(0)
    pin(threads)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
