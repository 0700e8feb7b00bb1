"""The peers' own virtual environments: their packages never meet those of edgecls."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.evidence import say
from benchmarks.peers.engines import PEERS, RECIPES

_LIST = ("import json; from importlib.metadata import distributions as d; "
         "print(json.dumps({i.metadata['Name'].lower(): i.version for i in d()}))")


class Environment:
    """folder: of the engines; FOLDER-NAME beside it is of converters that need one of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def python(self, engine: str, *, converting: bool = False) -> Path:
        recipe = RECIPES[engine]
        if not recipe.packages:
            return Path(sys.executable)
        own = converting and recipe.own_converter_venv
        return (self._folder.with_name(f"{self._folder.name}-{engine}") if own else self._folder) / "bin" / "python"

    def install(self, engines: Iterable[str]) -> None:
        """What is not there yet. Raises CalledProcessError."""
        for engine in engines:
            recipe = RECIPES[engine]
            self._install(self.python(engine), recipe.packages, dependencies=True)
            self._install(self.python(engine, converting=True), recipe.converters,
                          dependencies=not recipe.without_dependencies)

    def versions(self, engines: Iterable[str] = PEERS) -> dict[str, str]:
        """Of the engines and converters that are installed."""
        found: dict[str, str] = {}
        for engine in engines:
            recipe = RECIPES[engine]
            for python, names in ((self.python(engine), recipe.packages),
                                  (self.python(engine, converting=True), recipe.converters)):
                there = _packages(python)
                found |= {_name(n): there[_name(n)] for n in names if _name(n) in there}
        return found

    def _install(self, python: Path, names: tuple[str, ...], *, dependencies: bool) -> None:
        there = _packages(python)
        missing = [name for name in names if _name(name) not in there]
        if not missing:
            return
        say(f"installing {', '.join(missing)}")
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                        *([] if dependencies else ["--no-deps"]), *missing], check=True)


def _name(requirement: str) -> str:
    return re.split("[<>=]", requirement)[0].lower()


def _packages(python: Path) -> dict[str, str]:
    if not python.exists():
        return {}
    found: dict[str, str] = json.loads(subprocess.run([python, "-c", _LIST], check=True, capture_output=True).stdout)
    return found
