"""A Session that runs inside this process; a backend adds what one inference is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType

import numpy as np

from edgecls.backends.golden import golden_input
from edgecls.contract import Contract
from edgecls.errors import DataError, DeviceError
from edgecls.preprocess import preprocess
from edgecls.runtime.feed import Feed, as_array, images_of
from edgecls.types import Array, DeviceFacts, KernelTime, MeasureSettings, Samples, TensorSpec

_MAX_RUNS = 1_000_000
_MAX_THREADS = 256


def check_threads(threads: int) -> int:
    """Refuse a number of threads that nobody means. Raises DeviceError."""
    if not 1 <= threads <= _MAX_THREADS:
        raise DeviceError(f"{threads} threads are not possible", f"choose 1 to {_MAX_THREADS} threads")
    return threads


class HostSession(ABC):
    """See edgecls.interfaces.Session. plans: batch -> its (inputs, outputs)."""

    emulated = False

    def __init__(self, plans: Mapping[int, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]], contract: Contract,
                 artifact_hash: str, threads: int, facts: Callable[[], DeviceFacts]) -> None:
        self.batches = tuple(sorted(plans))
        self.inputs, self.outputs = plans[self.batches[0]]
        self.contract = contract
        self.artifact_hash = artifact_hash
        self.threads = threads
        self._plans = plans
        self._facts = facts
        self._last: dict[int, dict[str, Array]] = {}
        self._closed = False

    @abstractmethod
    def _invoke(self, batch: int, feed: dict[str, Array]) -> dict[str, Array]:
        """One inference on checked tensors."""

    def run(self, feed: Mapping[str, Feed]) -> dict[str, Array]:
        """Outputs by name. Raises DataError for a feed that the network does not take."""
        self._check_open()
        batch, tensors = self._check_feed(feed)
        self._last[batch] = tensors
        return self._invoke(batch, tensors)

    def measure(self, settings: MeasureSettings) -> Samples:
        """Nanoseconds of each of settings.runs runs. Input: the last one of that batch size, else the golden one."""
        self._check_open()
        batch = self._known_batch(settings.batch)
        if not (0 <= settings.warmup <= _MAX_RUNS and 1 <= settings.runs <= _MAX_RUNS):
            raise DataError(f"{settings.warmup} warm-up runs and {settings.runs} runs are not a measurement",
                            f"choose 1 to {_MAX_RUNS} runs")
        feed = self._input(batch)
        for _ in range(settings.warmup):
            self._invoke(batch, feed)
        values = []
        for _ in range(settings.runs):
            start = time.perf_counter_ns()
            self._invoke(batch, feed)
            values.append(time.perf_counter_ns() - start)
        return Samples(kind="time_ns", values=tuple(values))

    def profile(self, runs: int = 10) -> list[KernelTime]:
        """This runtime cannot tell."""
        self._check_open()
        return []

    def facts(self) -> DeviceFacts:
        """What the device says of itself now."""
        self._check_open()
        return self._facts()

    def close(self) -> None:
        """Free the network. Any further use is a DeviceError."""
        self._closed = True
        self._last.clear()

    def __enter__(self) -> HostSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _input(self, batch: int) -> dict[str, Array]:
        return self._last.get(batch) or {spec.name: golden_input(spec) for spec in self._plans[batch][0]}

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError("the session is closed", "open another one")

    def _known_batch(self, batch: int) -> int:
        if batch not in self._plans:
            sizes = ", ".join(map(str, self.batches))
            raise DataError(f"the bundle has no batch size {batch}, only {sizes}", f"use {sizes}, or compile with "
                            f"--batch {','.join(map(str, sorted({*self.batches, batch})))}")
        return batch

    def _check_feed(self, feed: Mapping[str, Feed]) -> tuple[int, dict[str, Array]]:
        names = [spec.name for spec in self.inputs]
        if set(feed) != set(names):
            raise DataError(f"the network takes the inputs {names}, not {sorted(feed)}", "give each of them once")
        tensors = {name: self._tensor(name, feed[name]) for name in names}
        for batch, (specs, _) in self._plans.items():
            if all(tensors[s.name].shape == s.shape and tensors[s.name].dtype == np.dtype(s.dtype) for s in specs):
                return batch, tensors
        given = ", ".join(f"{n!r} {t.dtype} {list(t.shape)}" for n, t in tensors.items())
        wanted = ", ".join(f"{s.name!r} {s.dtype} {list(s.shape)}" for s in self.inputs)
        raise DataError(f"the network takes {wanted} (batch sizes {', '.join(map(str, self.batches))}), not {given}",
                        "convert or reshape the array")

    def _tensor(self, name: str, value: Feed) -> Array:
        images = images_of(value)
        if images is None:
            return np.asarray(as_array(name, value), order="C")
        contract = next((c for c in self.contract.inputs if c.name == name and c.is_image), None)
        if contract is None:
            raise DataError(f"input {name!r} is not an image", "give a tensor of its shape")
        return np.concatenate([preprocess(image, contract) for image in images])
