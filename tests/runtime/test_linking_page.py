"""docs/linking.md, followed to the letter with a compiled model."""

from __future__ import annotations

import json
import math
import re
import subprocess
import zipfile
from pathlib import Path

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.passes import optimize_graph
from edgecls.targets import native_target
from tests.models import MODELS

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_builds_a_program(tmp_path: Path) -> None:
    graph = optimize_graph(MODELS["classifier"]())
    bundle = TvmBackend().compile(graph, native_target(), CompileOptions(static=True), tmp_path / "model.ecls").path
    with zipfile.ZipFile(bundle) as archive:
        for member in ("model.o", "weights.bin", "manifest.json"):
            archive.extract(member, tmp_path)
    build_id = json.loads((tmp_path / "manifest.json").read_bytes())["symbol"].removeprefix("ec_model_")
    page = (ROOT / "docs" / "linking.md").read_text().replace("0123456789abcdef" * 2, build_id)
    blocks = dict(re.findall(r"```(asm|c|sh)\n(.*?)```", page, re.S))
    (tmp_path / "weights.S").write_text(blocks["asm"])
    (tmp_path / "main.c").write_text(blocks["c"])
    (tmp_path / "edgecls").symlink_to(ROOT / "edgecls")
    subprocess.run(["sh", "-euc", blocks["sh"]], cwd=tmp_path, check=True)
    made = subprocess.run([tmp_path / "classify"], capture_output=True, text=True, check=True)
    assert math.isfinite(float(made.stdout))
