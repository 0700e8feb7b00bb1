"""The command group: imports a command only when it is called, and turns every failure into an exit code.

0: done. 1: a mistake in edgecls. 2: what was asked for cannot be done, and the hint says what to do next.
128 + N: stopped by signal N.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import cast

import click

from edgecls import __version__
from edgecls.cli.signals import stopped_by
from edgecls.cli.text import printable
from edgecls.errors import EdgeclsError, OutputError

COMMANDS = {
    "export": "Turn a trained model into ONNX with its contract.",
    "check": "Name the nodes that a target cannot run, before compiling.",
    "compile": "Compile an ONNX model into a bundle for a target.",
    "finish": "Build the engines of a bundle on the machine with its GPU.",
    "explain": "Show what is in a bundle and why.",
    "run": "Classify images with a bundle.",
    "validate": "Measure a bundle's accuracy against labels and ONNX Runtime.",
    "bench": "Measure a bundle's latency, or count instructions under emulation.",
    "report": "Put result files together into one report.",
    "targets": "List the targets, or show one.",
    "doctor": "Check this machine and say how to repair it.",
    "demo": "Run the whole road once on a real model and real photographs.",
}
_EXIT_BROKEN_PIPE = 141
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class LazyGroup(click.Group):
    """Knows its commands by name and summary, so `edgecls --help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"edgecls.cli.{cmd_name}")
        return cast(click.Command, module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}; there are: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="edgecls")
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected failure (or set EDGECLS_TRACEBACK=1).")
def cli(debug: bool) -> None:
    """Compile trained image classifiers for edge devices and prove what they do there."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the `edgecls` program; always ends in SystemExit."""
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))


def run(argv: list[str]) -> int:
    """One command line, from its arguments to its exit code."""
    debug = os.environ.get("EDGECLS_TRACEBACK") == "1" or "--debug" in argv
    try:
        if sys.stdout is None:  # whatever is opened next would get its number, and be written to
            raise OutputError("standard output is closed", "open it, or give it a place: > /dev/null")
        # Not cli.main(): it turns interrupts and broken pipes into exit codes of its own.
        with cli.make_context("edgecls", [a for a in argv if a != "--debug"]) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except BrokenPipeError:  # the reader of our output has gone
        _discard_stdout()
        return _EXIT_BROKEN_PIPE
    except Exception as error:
        if stopped_by():  # foreign code has made an exception of its own of the interrupt
            return _interrupted()
        if debug and not isinstance(error, click.ClickException):
            traceback.print_exc()
        return _failed(error)
    return 0


def _interrupted() -> int:
    _say("interrupted")
    return 128 + (stopped_by() or signal.SIGINT)


def _failed(error: Exception) -> int:
    """Say what went wrong and what to do next; the exit code."""
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        _discard_stdout()
        error = OutputError(f"the output cannot be written: {error.strerror}",
                            "make room where standard output goes, and in TMPDIR")
    if isinstance(error, MemoryError):
        error = EdgeclsError("memory ran out",
                             "close other programs, raise the limit that the shell or container sets (ulimit -v), or "
                             "compile fewer and smaller batch sizes at once: --batch")
    if isinstance(error, EdgeclsError):
        _say(f"error: {error.message}\nhint: {error.hint}")
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return 2
    if isinstance(error, click.ClickException):
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "edgecls"
        _say(f"error: {error.format_message()}\nhint: run: {path} --help")
        return 2
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("edgecls"):
        _say(f"error: the package '{error.name}' is not installed\nhint: run: edgecls doctor")
        return 2
    _say(f"error: unexpected {type(error).__name__}: {error}\n"
         "hint: this is a mistake in edgecls; report it with the command and the output of EDGECLS_TRACEBACK=1")
    return 1


def _discard_stdout() -> None:
    """Python would complain once more when it flushes stdout at exit."""
    with contextlib.suppress(OSError):  # a stdout that is no file has nothing to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that hung up, a full disk: the exit code still tells
        click.echo(printable(text), err=True)


if __name__ == "__main__":
    main()
