"""CPUs with two pipes and a cache so small that small networks are large for it."""

from __future__ import annotations

import platform
from collections.abc import Callable

import pytest
from msgspec import structs

from edgecls.targets import native_target
from edgecls.types import Target


def crowded(target: Target, l1d: int) -> Target:
    """The same CPU with two pipes and that many bytes of first cache."""
    cpu = structs.replace(target.cpu, fma_pipes=2, load_ports=2, cache=structs.replace(target.cpu.cache, l1d=l1d))
    return structs.replace(target, cpu=cpu)


def two_pipes(l1d: Callable[[int], int]) -> Target:
    """This machine, if it is an x86, so. l1d: bytes of first cache, by the lanes of a vector."""
    if platform.machine() != "x86_64":
        pytest.skip("instructions of x86")
    native = native_target()
    return crowded(native, l1d(native.cpu.vector_bits // 32))
