"""Entry point of the `edgecls` program: from here on, an interrupt never shows a traceback."""

from __future__ import annotations

import signal
import sys

from edgecls.cli.signals import install, stopped_by


def main() -> None:
    """Always ends in SystemExit."""
    try:
        install()
        from edgecls.cli.main import main as run_program  # importing takes long enough to be interrupted

        run_program()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(128 + (stopped_by() or signal.SIGINT))


if __name__ == "__main__":
    main()
