"""Golden files: `pytest --renew-goldens` rewrites tests/golden/ from what the code gives now; then read the diff.

A run says how many tests it left out for want of a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# wall time says nothing on a shared machine, and no test asserts it
settings.register_profile("edgecls", deadline=None)
settings.load_profile("edgecls")

GOLDEN = Path(__file__).parent / "golden"
_GPU_TESTS = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-goldens", action="store_true", help="rewrite tests/golden/ instead of comparing with it")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, bytes], None]:
    """golden(name, data): data must equal the committed file tests/golden/name."""

    def check(name: str, data: bytes) -> None:
        path = GOLDEN / name
        if request.config.getoption("--renew-goldens"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        assert path.is_file(), f"{path} is missing: run pytest --renew-goldens and commit it"
        assert data == path.read_bytes(), f"differs from {path}: if that is right, run pytest --renew-goldens"

    return check


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.config.stash[_GPU_TESTS] = item.config.stash.get(_GPU_TESTS, 0) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was not shown is said: a run without a GPU proves nothing of what needs one, and neither does a skip."""
    skipped = sum("gpu" in report.keywords for report in terminalreporter.stats.get("skipped", ()))
    if count := config.stash.get(_GPU_TESTS, 0) + skipped:
        terminalreporter.write_line(f"not run: {count} tests that need an NVIDIA GPU (pytest -m gpu)")
