"""TensorRT-RTX builds with no GPU, so its tests run wherever its wheel is: edgecls[test] installs it on x86-64."""

from __future__ import annotations

import platform
from importlib.util import find_spec

import pytest

needs_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None,
                               reason="tensorrt-rtx is not installed: pip install 'edgecls[test]'")


def pytest_report_header() -> str:
    there = "installed" if find_spec("tensorrt_rtx") else "NOT installed: tests of real builds are skipped"
    return f"tensorrt-rtx on {platform.machine()}: {there}"
