"""Every test runs on every registered backend; what one of them cannot do is a strict xfail with its reason."""

from __future__ import annotations

import pytest

from edgecls.backends.registry import BACKENDS

ZEROS = "its answer is always zero"


def on_every_backend(**broken: str) -> pytest.MarkDecorator:
    """Parametrise `backend`. broken: backend -> why the test must fail there."""
    return pytest.mark.parametrize("backend", [
        pytest.param(name, marks=pytest.mark.xfail(reason=broken[name], strict=True) if name in broken else ())
        for name in BACKENDS])
