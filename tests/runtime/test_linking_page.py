"""docs/linking.md, followed to the letter with a compiled model."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.passes import optimize_graph
from edgecls.targets import native_target
from tests.models import MODELS, random_feed, run_onnxruntime

ROOT = Path(__file__).resolve().parents[2]
READ_INPUT = """
  const ec_tensor *input = ec_input(session, 1, 0);
  if (fread(ec_input_data(session, 1, 0), 1, (size_t)input->bytes, stdin) != input->bytes) return 2;
"""


def test_the_page_builds_a_program(tmp_path: Path) -> None:
    exported = MODELS["classifier"]()
    graph = optimize_graph(exported)
    bundle = TvmBackend().compile(graph, native_target(), CompileOptions(static=True), tmp_path / "model.ecls").path
    with zipfile.ZipFile(bundle) as archive:
        for member in ("model.o", "weights.bin", "manifest.json"):
            archive.extract(member, tmp_path)
    build_id = json.loads((tmp_path / "manifest.json").read_bytes())["symbol"].removeprefix("ec_model_")
    page = (ROOT / "docs" / "linking.md").read_text().replace("0123456789abcdef" * 2, build_id)
    blocks = dict(re.findall(r"```(asm|c|sh)\n(.*?)```", page, re.S))
    (tmp_path / "weights.S").write_text(blocks["asm"])
    todo = "  /* write the input to ec_input_data(session, 1, 0), or call ec_preprocess with pixels */\n"
    assert todo in blocks["c"]
    (tmp_path / "main.c").write_text(blocks["c"].replace(todo, READ_INPUT))
    (tmp_path / "edgecls").symlink_to(ROOT / "edgecls")
    subprocess.run(["sh", "-euc", blocks["sh"]], cwd=tmp_path, check=True)
    for seed in range(3):
        feed = random_feed(exported, batch=1, seed=seed)
        logits = run_onnxruntime(exported, feed)["logits"]
        made = subprocess.run([tmp_path / "classify"], input=feed["x"].tobytes(), capture_output=True, check=True)
        assert abs(float(made.stdout) - logits.flat[0]) < 1e-4 * np.ptp(logits)
