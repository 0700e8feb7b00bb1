"""ONNX files in the peers' own forms, made by their converters on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx

from benchmarks.evidence import say
from benchmarks.peers.arm_root import WHEELS
from benchmarks.peers.engines import RECIPES
from benchmarks.peers.environment import Environment
from benchmarks.peers.figures import bind
from benchmarks.peers.workers import convert

PNNX = "20261020"


class Converter:
    """venv: a virtual environment for the converters, made when needed; folder: where converted files stay."""

    def __init__(self, venv: Path, folder: Path) -> None:
        self._venv, self._folder = venv.absolute(), folder.absolute()

    def convert(self, peer: str, model: Path) -> Path:
        """The file that the runner of `peer` is given. Raises CalledProcessError or WorkerError when the converter
        fails."""
        if peer == "ncnn":
            return self._made(f"pnnx-{PNNX}", model, (".ncnn.bin", ".ncnn.param"), self._to_ncnn)
        if peer == "mnn":
            return self._made(f"mnn-{WHEELS['mnn']}", model, (".mnn",), self._to_mnn)
        if peer == "litert":
            return self._made(f"litert-{WHEELS['litert']}", model, (".tflite",), self._to_litert)
        return model.absolute()

    def _made(self, converter: str, model: Path, suffixes: Sequence[str], make: Callable[[Path, Path], None]) -> Path:
        """The file with the last of `suffixes`, converted anew when it is older than the model."""
        folder = self._folder / converter
        made = [folder / f"{model.stem}{suffix}" for suffix in suffixes]
        if not made[-1].exists() or made[-1].stat().st_mtime < model.stat().st_mtime:
            say(f"  converting {model.name}: {converter}")
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as work:
                make(model.absolute(), Path(work))
                for file in made:
                    (Path(work) / file.name).replace(file)
        return made[-1]

    def _to_ncnn(self, model: Path, work: Path) -> None:
        shutil.copy(model, work)  # pnnx writes beside its input
        self._install(f"pnnx=={PNNX}", "--no-deps")  # its Python side wants torch, the program does not
        (pnnx,) = self._venv.glob("lib/python3*/site-packages/pnnx/pnnx")
        run_quietly([str(pnnx), model.name, "fp16=0"], work)

    def _to_mnn(self, model: Path, work: Path) -> None:
        self._install(f"mnn=={WHEELS['mnn']}")
        # MNN's command line reports to its makers, and installs packages for that wherever PATH has a pip
        run_quietly([str(self._venv / "bin/python"), "-c", "import sys, _tools; _tools.mnnconvert(sys.argv)",
                     "-f", "ONNX", "--modelFile", str(model), "--MNNModel", f"{model.stem}.mnn", "--bizCode",
                     "edgecls"], work)

    def _to_litert(self, model: Path, work: Path) -> None:
        """With the environment of the host's peers, whose converter takes gigabytes."""
        environment = Environment(self._venv.with_name("peers-venv"))
        environment.install(["litert"])
        bound = bind(onnx.load(model))
        onnx.save(bound, work / model.name)
        shape = tuple(d.dim_value for d in bound.graph.input[0].type.tensor_type.shape.dim)
        made = convert(environment.python("litert", converting=True), RECIPES["litert"].module, work / model.name,
                       work / "litert", shape)
        made.replace(work / f"{model.stem}.tflite")

    def _install(self, *what: str) -> None:
        if not self._venv.exists():
            subprocess.run([sys.executable, "-m", "venv", self._venv], check=True)
        subprocess.run([self._venv / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *what],
                       check=True)


def run_quietly(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        say(done.stdout[-2000:] + done.stderr[-2000:])
        done.check_returncode()
