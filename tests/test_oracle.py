"""ONNX Runtime as edgecls imports it: it answers, and it leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import edgecls

ASK = """
import numpy as np, onnx.parser
from edgecls.oracle import import_onnxruntime
ort = import_onnxruntime()
text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
model = onnx.parser.parse_model(text)
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
print(session.run(None, {"x": np.array([-1, 2], np.float32)})[0].tolist())
"""


def ask(tmp_path: Path, program: str) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    """What `program` says, and every path it left in its home and its temporary folder."""
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"),
           "PYTHONPATH": str(Path(edgecls.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120,
                          check=False)
    return done, sorted((tmp_path / "home").rglob("*")) + sorted((tmp_path / "tmp").rglob("*"))


def test_it_answers_and_writes_no_file(tmp_path: Path) -> None:
    done, left = ask(tmp_path, ASK)
    assert done.stdout == "[0.0, 2.0]\n" and done.returncode == 0, done.stderr
    assert left == []


def test_an_installation_without_it_is_told_the_pip_line(tmp_path: Path) -> None:
    done, _ = ask(tmp_path, "import sys; sys.modules['onnxruntime'] = None\n" + ASK)
    assert "MissingExtraError" in done.stderr and "pip install onnxruntime" in done.stderr


def test_no_other_module_imports_it() -> None:
    root = Path(edgecls.__file__).parent
    others = [f for f in root.rglob("*.py") if "import onnxruntime" in f.read_text() and f.name != "oracle.py"]
    assert others == []
