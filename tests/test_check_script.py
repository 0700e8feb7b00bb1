"""scripts/check finds the Python of a virtual environment and says what that lacks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script and a `python` (not on PATH) that only writes down what it is asked, less `LACKS`."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "check").write_bytes(SCRIPT.read_bytes())
    for name in (".venv", "other"):
        python = tmp_path / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\n[ "$*" != "-c import $LACKS" ] && echo {name} "$@"\n')
        python.chmod(0o755)
    return tmp_path


def check(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", "scripts/check", *arguments], cwd=checkout, capture_output=True, text=True,
                          env={"PATH": "/usr/bin:/bin", "LACKS": "nothing", **environment})


def test_a_virtual_environment_need_not_be_active(checkout: Path) -> None:
    done = check(checkout, "-k", "some")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-3:] == [".venv -m ruff check .", ".venv -m mypy", ".venv -m pytest -q -k some"]


def test_the_active_one_comes_first_and_a_named_one_before_it(checkout: Path) -> None:
    assert "other -m mypy" in check(checkout, VIRTUAL_ENV=str(checkout / "other")).stdout
    named = check(checkout, VIRTUAL_ENV=str(checkout / "other"), PYTHON=str(checkout / ".venv" / "bin" / "python"))
    assert ".venv -m mypy" in named.stdout


@pytest.mark.parametrize("module", ["ruff", "mypy", "pytest"])
def test_what_is_missing_is_named_with_its_remedy(checkout: Path, module: str) -> None:
    done = check(checkout, LACKS=module)
    assert done.returncode == 2
    assert done.stderr.startswith(f".venv/bin/python has no {module}; run: .venv/bin/python -m pip install '.[test]'")

