"""Memory of a command and everything it starts."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

INTERVAL_S = 0.03
"""Finding the descendants reads every process of the machine: more often would disturb what is measured."""

YOUNG_S = 2.0
"""How long a child may take from its start to executing its program; start times are known to a second."""

STACK = 8 << 20


class TreeUse(NamedTuple):
    """seconds: wall clock, from start to end. samples: how often the tree was looked at. processes: most at once.

    peak_rss: bytes; the largest sum, at one sample, of the resident memory of the process and all its descendants.
    Pages that several of them share count for each, so it is not below the truth; what comes and goes between two
    samples is missed. max_rss: bytes; ru_maxrss, the kernel's own gapless maximum, but of the largest single process;
    never below what this process held when it started the command.
    """

    status: int
    seconds: float
    peak_rss: int
    max_rss: int
    samples: int
    processes: int


def run_sampled(argv: Sequence[str], log: Path, interval: float = INTERVAL_S) -> TreeUse:
    """Run `argv` to its end, its output into `log`, and look at its process tree every `interval` seconds."""
    peak_rss = samples = processes = 0
    with log.open("wb") as output:
        start = time.monotonic()
        # not its own `wait`: wait4 is what gives ru_maxrss of this child alone
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        root = psutil.Process(child.pid)
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                seconds = time.monotonic() - start
                break
            began = time.monotonic()
            memory = resident(root)
            if memory:
                peak_rss, processes, samples = max(peak_rss, sum(memory)), max(processes, len(memory)), samples + 1
            time.sleep(max(0.0, began + interval - time.monotonic()))
    child.returncode = os.waitstatus_to_exitcode(status)
    return TreeUse(child.returncode, seconds, peak_rss, usage.ru_maxrss * 1024, samples, processes)


def resident(root: psutil.Process) -> list[int]:
    """Bytes of every process of the tree that is still there.

    A child just started that has its parent's address space is left out: until it executes its program (vfork), it
    runs in its parent's memory.
    """
    found: dict[int, Any] = {}
    now = time.time()
    try:
        tree = [(0, root), *((p.ppid(), p) for p in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []
    for parent, process in tree:
        try:
            memory, age = process.memory_info(), now - process.create_time()
        except psutil.Error:  # it ended just now
            continue
        # spawning maps a small stack into the shared address space, after the parent was looked at
        borrowed = parent in found and abs(found[parent].vms - memory.vms) < STACK and age < YOUNG_S
        if memory.rss and not borrowed:  # a zombie has none
            found[process.pid] = memory
    return [memory.rss for memory in found.values()]
