"""Exit codes, the shape of messages, help texts, and what an import may cost."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest

from edgecls.cli import main
from edgecls.errors import EdgeclsError, InternalError

QUIET = "No progress and no notes; results and errors only."


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """`edgecls targets` fails with the given exception."""
    def install(error: BaseException) -> None:
        def fail() -> None:
            raise error
        monkeypatch.setattr("edgecls.targets.list_targets", fail)
    return install


@pytest.mark.parametrize(("error", "status", "said"), [
    (EdgeclsError("the thing is wrong", "mend it"), 2, "error: the thing is wrong\nhint: mend it\n"),
    (InternalError("oops", "report it"), 1, "error: oops\nhint: report it\n"),
    (MemoryError(), 2, "error: memory ran out\nhint: close other programs"),
    (ZeroDivisionError("by zero"), 1, "error: unexpected ZeroDivisionError: by zero\nhint: "),
    (ModuleNotFoundError("No module named 'numpy'", name="numpy"), 2,
     "error: the package 'numpy' is not installed\nhint: run: edgecls doctor\n"),
    (KeyboardInterrupt(), 130, "interrupted\n"),
])
def test_failures_become_exit_codes(cli, failing, error, status, said):
    failing(error)
    outcome = cli("targets")
    assert (outcome.status, outcome.out) == (status, "")
    assert outcome.err.startswith(said)
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("way", ["environment", "flag", "flag after the command"])
def test_a_traceback_appears_when_asked_for(cli, failing, monkeypatch, way):
    failing(ZeroDivisionError("by zero"))
    if way == "environment":
        monkeypatch.setenv("EDGECLS_TRACEBACK", "1")
    outcome = cli(*{"flag": ["--debug", "targets"], "flag after the command": ["targets", "--debug"]}
                  .get(way, ["targets"]))
    assert outcome.status == 1
    assert "Traceback (most recent call last)" in outcome.err


def test_control_characters_of_a_file_do_not_reach_the_terminal(cli, failing):
    failing(EdgeclsError("node \x1b[2J\x07evil\nsecond line", "mend it"))
    assert cli("targets").err == "error: node \\x1b[2J\\x07evil\nsecond line\nhint: mend it\n"


@pytest.mark.parametrize("arguments", [
    ["frobnicate"], ["compile"], ["compile", "m.onnx", "--target", "aarch64", "-o", "x", "--batch", "0"],
    ["compile", "m.onnx", "--target", "aarch64", "-o", "x", "--batch", "9" * 5000],
    ["compile", "m.onnx", "--target", "aarch64", "-o", "x", "--no-such-flag"], ["--no-such-flag"],
    ["validate", "b.ecls", "--data", "d", "--min-top1", "banana%"],
    ["validate", "b.ecls", "--data", "d", "--limit", "0"],
    ["validate", "b.ecls", "--data", "d", "--min-agreement", "1"], ["bench", "b.ecls", "--threads", "0"],
])
def test_a_wrong_command_line_says_where_help_is(cli, arguments):
    outcome = cli(*arguments)
    assert outcome.status == 2
    first, second = outcome.err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: run: edgecls") and second.endswith("--help")


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help_that_begins_with_its_summary(cli, name):
    outcome = cli(name, "--help")
    assert outcome.status == 0
    command = importlib.import_module(f"edgecls.cli.{name}").command
    first_sentence = " ".join((command.help or "").split())
    assert first_sentence.startswith(main.COMMANDS[name].rstrip("."))
    with click.Context(command) as context:
        undescribed = [p.name for p in command.get_params(context) if isinstance(p, click.Option) and not p.help]
    assert undescribed == []


def test_help_lists_every_command_and_imports_none_of_them():
    program = ("import sys; from edgecls.cli.main import run; status = run(['--help']);"
               "print(status, sorted(m for m in sys.modules if m.split('.')[0] in"
               " {'numpy', 'onnx', 'tvm', 'torch', 'rich', 'PIL'} or m.startswith('edgecls.cli.')))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *text, last = done.stdout.splitlines()
    assert last == "0 ['edgecls.cli.main', 'edgecls.cli.signals', 'edgecls.cli.text']"
    for name, summary in main.COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, summary] for line in text)


@pytest.mark.parametrize("name", ["run", "validate", "bench"])
def test_the_patience_that_help_tells_is_the_one_that_is_had(name):
    from edgecls.interfaces import PATIENCE_S

    command = importlib.import_module(f"edgecls.cli.{name}").command
    told = next(p.help for p in command.params if "--timeout" in p.opts)
    assert told.endswith(f"Default: {PATIENCE_S:g}.")


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_can_be_quiet(name):
    command = importlib.import_module(f"edgecls.cli.{name}").command
    assert [p for p in command.params if "--quiet" in p.opts and "-q" in p.opts and p.help == QUIET]


def test_the_version(cli):
    assert cli("--version").out.startswith("edgecls, version ")


def test_a_reader_that_goes_away_is_not_an_error():
    program = ("import sys; from edgecls.cli.main import main;"
               "sys.stdin.read(); main(['targets', '-q'])")
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (141, "")
