"""Being told to stop: Ctrl-C, SIGTERM and a terminal that hangs up unwind the main thread, so that everything opened
is closed: programs on devices end, and temporary folders go."""

from __future__ import annotations

import signal
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


def install() -> None:
    """For the whole process, from its main thread. What the parent told it to ignore (nohup) stays ignored."""
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def stopped_by() -> int | None:
    """The first signal that came, else None. Foreign code may have made another exception of the interrupt."""
    return _received[0] if _received else None


def _stop(number: int, frame: FrameType | None) -> None:
    repeated = bool(_received)
    _received.append(number)
    # A shell and its terminal both hang up: only a person who presses Ctrl-C again may cut the cleaning up short.
    if not repeated or number == signal.SIGINT:
        raise KeyboardInterrupt
