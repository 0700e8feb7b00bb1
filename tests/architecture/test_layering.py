"""Imports go one way, and rooms meet only through edgecls.interfaces."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgecls

ROOT = Path(edgecls.__file__).parent

# Lower layers know nothing of higher ones.
LAYERS = (
    {"errors", "frozen"},
    {"contract"},
    {"types"},
    {"interfaces", "output", "bundle", "preprocess", "oracle", "half_rounding", "read", "results"},
    {"targets", "toolchain", "runtime"},
    {"frontend", "passes", "backends", "devices", "harness", "report"},
    {"pipeline", "demo", "doctor"},
    {"cli", "__main__"},
)
ROOMS = LAYERS[5]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def imports(source: str, module: str) -> Iterator[str]:
    """Absolute names of everything `module` imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative imports hide where they lead"
            yield node.module or ""
            if node.module == "edgecls":
                yield from (f"edgecls.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """edgecls.backends.tvm.fuse -> backends"""
    return module.split(".")[1] if "." in module else ""


def modules() -> dict[str, Path]:
    return {".".join(["edgecls", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): path
            for path in sorted(ROOT.rglob("*.py"))}


def violations(module: str, source: str) -> list[str]:
    own = room_of(module)
    found = []
    for name in imports(source, module):
        other = room_of(name) if name.startswith("edgecls.") else ""
        if other in ("", own, "__version__"):
            continue
        if other not in LEVEL or own not in LEVEL:
            found.append(f"{module} imports {name}, and {other if own in LEVEL else own} is in no layer")
        elif LEVEL[other] > LEVEL[own] or (own in ROOMS and other in ROOMS):
            found.append(f"{module} must not import {name}")
    return found


@pytest.mark.parametrize("module", modules())
def test_imports_follow_the_layers(module: str) -> None:
    assert violations(module, modules()[module].read_text()) == []


@pytest.mark.parametrize(("module", "source"), [
    ("edgecls.harness.latency", "from edgecls.devices import open_device"),
    ("edgecls.types", "import edgecls.bundle"),
    ("edgecls.backends.tvm.link", "def f():\n    from edgecls import pipeline"),
    ("edgecls.targets.load", "from edgecls.passes.network import Network"),
    ("edgecls.novelty", "from edgecls.errors import EdgeclsError"),
])
def test_a_wrong_import_is_seen(module: str, source: str) -> None:
    assert violations(module, source)
