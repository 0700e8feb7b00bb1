"""A descriptor that contradicts itself is refused, under the sanitizers."""

from __future__ import annotations

from tests.runtime_c import tiny
from tests.runtime_c.conftest import SANITIZE, run_driver


def test_every_contradiction_is_refused(tmp_path):
    tiny.write_config(tmp_path, embed=True)
    program = tiny.compile_c(("gcc",), tmp_path / "descriptor",
                             [tiny.HERE / "descriptor.c", *tiny.sources(program=False)], f"-I{tmp_path}",
                             "-Wno-conversion", *SANITIZE)
    messages = run_driver(program)
    assert len(messages) > 75 and len(set(messages)) > 35
