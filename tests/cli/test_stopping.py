"""Told to stop, or unable to write: an exit code that tells, nothing left over, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# `edgecls targets` holds a program and a folder on a device, then does `WAIT`.
PROGRAM = """
import sys, time
import edgecls.targets
from edgecls.devices.local import LocalDevice

def work():
    with LocalDevice() as device:
        device.push({"file": __import__("pathlib").Path(sys.executable)})
        process = device.start(["/bin/sh", "-c", "echo $$; exec sleep 600"])
        try:
            print(process.stdout.readline().decode().strip(), flush=True)
            WAIT
        finally:
            process.close()
edgecls.targets.list_targets = work
sys.argv[1:] = ["targets"]
from edgecls.__main__ import main
main()
"""
AS_IT_IS = "time.sleep(600)"
MADE_ANOTHER_ERROR_OF = """
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                raise RuntimeError("TVM was interrupted")
"""


# a test run in the background, or under nohup, ignores signals, and would hand that on
LISTENING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""


def start(tmp_path: Path, program: str, before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", LISTENING + before + program], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})


@pytest.mark.parametrize("wait", [AS_IT_IS, MADE_ANOTHER_ERROR_OF], ids=["plain", "as another error"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_programs_and_removes_folders(tmp_path, wait, number, status):
    with start(tmp_path, PROGRAM.replace("WAIT", wait)) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        assert list(tmp_path.glob("edgecls-*"))
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, "interrupted\n")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_hang_up_that_the_parent_ignores_is_ignored(tmp_path):
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    with start(tmp_path, PROGRAM.replace("WAIT", "time.sleep(0.3); raise SystemExit(7)"), ignore) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 7


def test_an_interrupt_while_importing_shows_no_traceback(tmp_path):
    program = ("import sys, signal\n"
               "class Interrupting:\n"
               "    def find_spec(self, name, path=None, target=None):\n"
               "        if name == 'click':\n"
               "            signal.raise_signal(signal.SIGINT)\n"
               "sys.meta_path.insert(0, Interrupting())\n"
               "from edgecls.__main__ import main\n"
               "main()\n")
    with start(tmp_path, program) as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "interrupted\n")


@pytest.mark.parametrize("redirection", ["> /dev/full", ">&-"])
@pytest.mark.parametrize("argument", ["targets -q", "--help"])
def test_a_stdout_that_cannot_be_written(argument, redirection):
    done = subprocess.run(["/bin/sh", "-c", f'"$0" -m edgecls {argument} {redirection}', sys.executable],
                          stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
