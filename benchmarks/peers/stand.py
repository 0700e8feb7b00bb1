"""One network in every engine's format: loaded, checked against ONNX Runtime, and measured in turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime

from benchmarks.evidence import Row, say
from benchmarks.peers.conditions import foreign_cpus
from benchmarks.peers.engines import AGAIN, OURS, RECIPES
from benchmarks.peers.engines.base import Array
from benchmarks.peers.environment import Environment
from benchmarks.peers.figures import bind, engine_figures, floors, noise_band, ratios, reasons, work
from benchmarks.peers.floors import RateMeter, Rates, best, cpus
from benchmarks.peers.rounds import play, turn
from benchmarks.peers.workers import Worker, WorkerError, convert
from edgecls import pipeline
from edgecls.devices import LocalDevice
from edgecls.errors import EdgeclsError
from edgecls.frozen import sha256
from edgecls.targets import load_target

_SEED = 7


class Stand:
    """One network in every engine's format, with one input and what ONNX Runtime makes of it."""

    def __init__(self, model: Path, folder: Path, converted: Path, peers: Sequence[str],
                 environment: Environment) -> None:
        self._folder, self._environment = folder, environment
        bound = bind(onnx.load(model))
        self._work = work(bound)
        self._onnx, self._input = folder / f"{model.stem}.onnx", folder / "input.npy"
        onnx.save(bound, self._onnx)
        shape = tuple(d.dim_value for d in bound.graph.input[0].type.tensor_type.shape.dim)
        tensor = np.random.default_rng(_SEED).standard_normal(shape, np.float32)
        np.save(self._input, tensor)
        self._expected = _reference(self._onnx, tensor)
        self._meter = RateMeter(folder)
        self._models: dict[str, Path] = {}
        self._failed: dict[str, str] = {}
        self._bundle = self._compile(model)
        stem = f"{model.stem}-{sha256(self._onnx.read_bytes())[:12]}"
        for name in peers:
            say(f"  {RECIPES[name].title}: converting, unless it is done")
            try:
                self._models[name] = self._convert(name, converted / stem, shape)
            except WorkerError as error:
                self._failed[name] = f"conversion: {error}"

    def measure(self, threads: int, rounds: int) -> Row:
        started, before = datetime.now(timezone.utc).isoformat(timespec="seconds"), LocalDevice().facts()
        failed, rates = dict(self._failed), list[Rates]()
        with self._workers(threads, failed) as (workers, differences):
            turns = {name: turn(_first_look(worker)) for name, worker in workers.items()}
            with foreign_cpus() as foreign:
                samples, counted = play(lambda name, t: workers[name].measure(t.warmup, t.runs), turns, rounds,
                                        lambda number: self._peak(number, rounds, threads, rates))
        engines: dict[str, Any] = {n: engine_figures(s, counted, differences[n]) for n, s in samples.items()}
        engines |= {name: {"not_run": why} for name, why in failed.items()}
        peaks = [r.flops_per_s for r in rates]
        facts = before, LocalDevice().facts()
        problems = reasons(engines, threads, facts, peaks, counted, foreign[0])
        return {
            "measured_at": started, "bundle": self._bundle, "rounds": rounds, "counted": counted,
            "cpus": cpus(threads),
            "engines": engines, "turns": {name: t._asdict() for name, t in turns.items()}, "ratios": ratios(engines),
            "noise_band": noise_band(engines), "work": msgspec.to_builtins(self._work),
            "rates": msgspec.to_builtins(rates), "floors_ms": floors(self._work, best(rates)),
            "facts": msgspec.to_builtins(facts), "foreign_cpus": foreign[0], "valid": not problems,
            "reasons": problems}

    def _peak(self, done: int, rounds: int, threads: int, rates: list[Rates]) -> float:
        say(f"  {threads} thread(s), {done} rounds played for {rounds} with a steady peak")
        rates.append(self._meter.measure(threads, self._work.weight_bytes))
        return rates[-1].flops_per_s

    def _compile(self, model: Path) -> str | None:
        say("  edgecls: compiling")
        try:
            artifact = pipeline.compile_model(model, load_target("native"), self._folder / "model.ecls")
        except EdgeclsError as error:
            self._failed |= {OURS: f"compiling: {error}", AGAIN: f"compiling: {error}"}
            return None
        self._models |= {OURS: artifact.path, AGAIN: artifact.path}
        return artifact.hash

    def _convert(self, name: str, folder: Path, shape: tuple[int, ...]) -> Path:
        if name in ("onnxruntime", "openvino"):
            return self._onnx
        versions = "-".join(self._environment.versions([name]).values())
        return convert(self._environment.python(name, converting=True), RECIPES[name].module, self._onnx,
                       folder / f"{name}-{versions}", shape)

    @contextmanager
    def _workers(self, threads: int,
                 failed: dict[str, str]) -> Iterator[tuple[dict[str, Worker], dict[str, float | None]]]:
        """Every engine loaded and stopped, with the difference of its first output; the others go to `failed`."""
        workers: dict[str, Worker] = {}
        differences: dict[str, float | None] = {}
        with ExitStack() as stack:
            for name, model in self._models.items():
                say(f"  {RECIPES[name].title}: loading")
                output = self._folder / f"{name}.npy"
                worker = Worker(self._environment.python(name), ["serve", RECIPES[name].module, str(model),
                                str(threads), str(self._input), str(output)], self._folder / f"{name}.log", threads)
                stack.callback(worker.close)
                try:
                    worker.answer()
                    worker.stop()
                    differences[name] = _difference(np.load(output), self._expected)
                except WorkerError as error:
                    failed[name] = str(error)
                else:
                    workers[name] = worker
            yield workers, differences


def _first_look(worker: Worker) -> float:
    """Milliseconds of an inference, roughly."""
    return min(worker.measure(2, 3)) / 1e6


def _reference(model: Path, tensor: Array) -> Array:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {session.get_inputs()[0].name: tensor})[0]
    return result


def _difference(output: Array, expected: Array) -> float | None:
    """Relative to the range; None for another number of values, or one that is not finite."""
    if output.size != expected.size or not np.isfinite(output).all():
        return None
    return float(np.abs(output.reshape(expected.shape) - expected).max() / np.ptp(expected))
