"""Writing LLVM's object file where a full disk cannot end the process."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import warnings
from pathlib import Path
from typing import Any, NoReturn

from edgecls.backends.tvm.scratch import scratch_error
from edgecls.errors import InternalError

_IO_FAILURE = re.compile(r"IO failure on output stream: (.+)")


def write_object(module: Any, path: Path) -> None:
    """module: an LLVM module of TVM, which can be written to a file only, never to memory.

    LLVM answers every failure by ending the process, so a forked child writes.
    Raises OutputError when there is no room, InternalError when LLVM cannot make the code.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # the parent may have threads; the child calls LLVM, which they do not use, and ends
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _write_and_exit(module, path, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, errors="replace") as pipe:
            said = pipe.read()
    except BaseException:  # an interrupt: nobody may write into a folder that is about to go
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        return
    if failure := _IO_FAILURE.search(said):
        raise scratch_error(path.parent, failure[1].strip())
    raise InternalError(f"LLVM ended with status {status} while it made code: {' '.join(said.split())[-500:]}",
                        "report this with the model and the target")


def _write_and_exit(module: Any, path: Path, stderr: int) -> NoReturn:
    status = 1
    try:
        os.dup2(stderr, 2)
        # LLVM's exit() would run the handlers of all libraries, some of which wait for threads that a fork has not
        libc = ctypes.CDLL(None)
        libc.__cxa_atexit(libc._exit, ctypes.c_void_p(1), None)
        module.write_to_file(str(path), "o")
        status = 0
    except BaseException as error:
        os.write(2, str(error).encode())
    finally:
        os._exit(status)
