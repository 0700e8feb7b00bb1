"""The commands of benchmarks/ on bad input: one message, exit code 2."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.command_line import positive, run_main
from edgecls.errors import DataError, InternalError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("arguments", "said"), [
    (["benchmarks.kernels", "{no}"], "{no}"), (["benchmarks.kernels", "README.md"], "README.md"),
    (["benchmarks.kernels", "{no}", "--top", "0"], "'0' is not a whole number of 1 or more"),
    (["benchmarks.instructions", "--target", "nosuch", "--models", "vgg16", "--onnx", "{no}", "-o", "{no}/x.json"],
     "does not exist"),
    (["benchmarks.peers.layers", "nosuch"], "no network is called 'nosuch'"),
    (["benchmarks.peers.layers", "{no}.onnx"], "{no}.onnx"), (["benchmarks.peers.layers", "{no}.ecls"], "{no}.ecls"),
    (["benchmarks.peers.layers", "vgg16", "--threads", "0"], "'0' is not a whole number of 1 or more"),
    (["benchmarks.peers.share", "--models", "vgg16", "--onnx", "{no}", "-o", "{no}/x.json"], "does not exist"),
    (["benchmarks.batches", "--models", "vgg16", "--onnx", "{no}", "-o", "{no}/x.json"], "does not exist"),
    (["benchmarks.batches", "--batches", "0"], "'0' is not a whole number of 1 or more"),
    (["benchmarks.peers.host", "--threads", "0"], "'0' is not a whole number of 1 or more"),
    (["benchmarks.peers.host", "--rounds", "-1"], "'-1' is not a whole number of 1 or more"),
    (["benchmarks.peers.llvm_mca", "{no}"], "{no}"), (["benchmarks.models", "--output", "{no}", "nosuch"], "nosuch"),
], ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "")
def test_bad_input_is_one_message(tmp_path: Path, arguments: list[str], said: str) -> None:
    no = tmp_path / "no"
    done = subprocess.run([sys.executable, "-m", *(a.format(no=no) for a in arguments)], cwd=ROOT, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert said.format(no=no) in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("error", "status", "said"), [
    (DataError("wrong", "mend it"), 2, "error: wrong\nhint: mend it\n"),
    (InternalError("wrong", "report it"), 1, "error: wrong\nhint: report it\n"),
    (ModuleNotFoundError("No module named 'timm'", name="timm"), 2, "error: the package 'timm' is not installed\n"),
    (subprocess.CalledProcessError(3, ["/bin/pip", "install", "a b"]), 2,
     "error: pip ended with status 3: /bin/pip install 'a b'\n"),
])
def test_failures_become_exit_codes(capsys, error, status, said):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == status and capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("text", ["0", "-1", "", "x", "1.5", "²", "9" * 5000])
def test_what_is_no_count(text):
    with pytest.raises(argparse.ArgumentTypeError):
        positive(text)
    assert positive("12") == 12
