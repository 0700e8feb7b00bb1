"""What every command of this folder shares: bad input is one message and exit code 2, never a traceback."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from edgecls.errors import EdgeclsError


def run_main(main: Callable[[], None]) -> None:
    """Call `main`. What a user can mend ends the program as it would end `edgecls`."""
    try:
        main()
    except EdgeclsError as error:
        _refuse(error.message, error.hint, error.exit_code)
    except ModuleNotFoundError as error:
        _refuse(f"the package {error.name!r} is not installed", "run: pip install '.[demo,zoo,test]'")
    except subprocess.CalledProcessError as error:
        _refuse(f"{Path(error.cmd[0]).name} ended with status {error.returncode}: {shlex.join(map(str, error.cmd))}",
                "run that command to see what it says")


def positive(text: str) -> int:
    """A type of argparse: a whole number, 1 or more."""
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 9 and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _refuse(message: str, hint: str, status: int = 2) -> NoReturn:
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    sys.exit(status)
