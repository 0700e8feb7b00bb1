"""Memory of a whole process tree, against processes that hold a known amount."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.process_tree import TreeUse

MB = 1 << 20
ROOT = Path(__file__).resolve().parents[2]
MEASURE = ("import json, sys; from pathlib import Path; from benchmarks.process_tree import run_sampled; "
           "print(json.dumps(run_sampled(sys.argv[3:], Path(sys.argv[1]), float(sys.argv[2]))))")
HOLD = "import time; held = bytearray({size}); held[::4096] = b'x' * len(held[::4096]); {then}; time.sleep({seconds})"


def run_sampled(argv: Sequence[str], log: Path, interval: float = 0.03) -> TreeUse:
    """In a small process: a command's maximum includes what the process that starts it holds, and pytest's is large."""
    made = subprocess.run([sys.executable, "-c", MEASURE, log, str(interval), *argv], cwd=ROOT, check=True,
                          capture_output=True, text=True)
    return TreeUse(*json.loads(made.stdout))


def test_children_count_together_with_their_parent(tmp_path):
    child = HOLD.format(size=150 * MB, then="pass", seconds=1)
    parent = HOLD.format(size=100 * MB, seconds=0,
                         then=f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    use = run_sampled([sys.executable, "-c", parent], tmp_path / "log")
    assert use.status == 0, (tmp_path / "log").read_text()
    assert use.processes == 2
    assert 250 * MB < use.peak_rss < 330 * MB
    assert 150 * MB < use.max_rss < 200 * MB
    assert use.seconds > 1
    assert use.samples > 5


def test_a_child_that_still_runs_in_its_parents_memory_does_not_count(tmp_path):
    """vfork holds the parent until the child executes something: here, a loop of them."""
    parent = HOLD.format(size=100 * MB, seconds=0, then="import os\nfor _ in range(600): "
                         "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)\npass")
    use = run_sampled([sys.executable, "-c", parent], tmp_path / "log", interval=0.001)
    assert use.status == 0, (tmp_path / "log").read_text()
    assert 100 * MB < use.peak_rss < 180 * MB


@pytest.mark.parametrize("code", [0, 3])
def test_status_and_output_are_kept(tmp_path, code):
    use = run_sampled([sys.executable, "-c", f"print('said'); raise SystemExit({code})"], tmp_path / "log")
    assert use.status == code
    assert (tmp_path / "log").read_text() == "said\n"
