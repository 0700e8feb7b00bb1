"""Peers have environments of their own; edgecls runs in this one."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.engines import OURS, PEERS, RECIPES
from benchmarks.peers.environment import Environment


def test_who_runs_where(tmp_path):
    environment = Environment(tmp_path / "venv")
    assert environment.python(OURS) == Path(sys.executable)
    assert environment.python("ncnn") == environment.python("ncnn", converting=True) == tmp_path / "venv/bin/python"
    assert environment.python("litert") == tmp_path / "venv/bin/python"
    assert environment.python("litert", converting=True) == tmp_path / "venv-litert/bin/python"


def test_nothing_is_there_before_it_is_installed(tmp_path):
    assert Environment(tmp_path / "venv").versions() == {}


def test_every_engine_has_its_module():
    folder = Path(sys.modules[Environment.__module__].__file__).parent / "engines"
    assert all((folder / f"{RECIPES[name].name}.py").is_file() for name in (OURS, *PEERS))
