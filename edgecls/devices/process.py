"""A program started on this machine with three pipes: the program itself, its emulator, or an ssh client."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from edgecls.errors import DeviceError

_STDERR_BYTES = 64 << 10


class PipeProcess:
    """edgecls.interfaces.Process. `check_exit(status, errors)` may raise DeviceError for what an exit status means."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def __init__(self, argv: Sequence[str], *, device: str, env: Mapping[str, str] | None = None,
                 check_exit: Callable[[int, str], None] | None = None) -> None:
        """Raises DeviceError when the program cannot be started."""
        self._device = device
        self._check_exit = check_exit
        try:
            # A session of its own: Ctrl-C reaches edgecls alone, which then closes its programs in order.
            self._popen = subprocess.Popen(list(argv), bufsize=0, env=env, start_new_session=True,
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            reason = error.strerror if isinstance(error, OSError) else error
            raise DeviceError(f"{device}: {argv[0]} cannot be started: {reason}",
                              "check that it was built for this device and that its folder allows execution") from None
        assert self._popen.stdin and self._popen.stdout and self._popen.stderr
        self.stdin, self.stdout, self._stderr = self._popen.stdin, self._popen.stdout, self._popen.stderr
        self._errors = bytearray()
        # Without a reader a talkative program would block on a full pipe.
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def wait(self, timeout: float | None = None) -> int:
        """Exit status, negative for a signal. Raises DeviceError when it takes longer than `timeout` seconds."""
        try:
            status = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise DeviceError(f"{self._device}: the program did not end within {timeout:g} seconds",
                              "check the load of the device, then try again") from None
        if self._check_exit is not None:
            self._check_exit(status, self.errors())
        return status

    def errors(self) -> str:
        """The end of what it has written to standard error so far."""
        if self._popen.poll() is not None:
            self._reader.join(1.0)
        return bytes(self._errors).decode(errors="replace")

    def close(self) -> None:
        """Stop it if it still runs and free the pipes. Never raises."""
        with contextlib.suppress(OSError):
            self.stdin.close()
        if self._popen.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
        self._reader.join(1.0)
        for pipe in (self.stdout, self._stderr):
            with contextlib.suppress(OSError):
                pipe.close()

    def _read_errors(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed while reading
            while chunk := self._stderr.read(1 << 16):
                self._errors += chunk
                del self._errors[:-_STDERR_BYTES]
