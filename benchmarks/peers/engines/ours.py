"""edgecls: its own runtime on the device takes the times."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers.engines.base import Array, BaseEngine
from edgecls import pipeline
from edgecls.bundle import open_bundle
from edgecls.types import MeasureSettings


class Engine(BaseEngine):
    def __init__(self, model: Path, threads: int, tensor: Array) -> None:
        self._open = ExitStack()  # ends with this process, which is the session's only user
        self._session = self._open.enter_context(pipeline.open_session(open_bundle(model), threads=threads))
        self._feed = {self._session.inputs[0].name: tensor}

    def infer(self) -> None:
        self._outputs = self._session.run(self._feed)

    def output(self) -> Array:
        return self._outputs[self._session.outputs[0].name]

    def measure(self, warmup: int, runs: int) -> list[int]:
        return list(self._session.measure(MeasureSettings(warmup=warmup, runs=runs)).values)
