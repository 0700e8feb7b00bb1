"""Run the command line in this process: exit code, stdout, stderr."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from edgecls.cli.main import run


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = run([str(a) for a in arguments])
        return Outcome(status, *capsys.readouterr())

    return call
