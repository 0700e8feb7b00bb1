"""A Session in memory: the answer to an image is any function of its pixels, the clock is a list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgecls.contract import Contract, InputContract, OutputContract, Resize
from edgecls.types import Array, DeviceFacts, KernelTime, MeasureSettings, Pixels, Samples, TensorSpec


def contract(classes: int = 4, *, names: Sequence[str] | None = None, task: Any = "single-label",
             role: Any = "logits", **output: Any) -> Contract:
    image = InputContract(
        name="image", dtype="float32", layout="NCHW", size=(2, 2),
        resize=Resize(mode="exact", size=(2, 2), interpolation="nearest"), crop="none", color="RGB", scale=1 / 255,
        mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), alpha="drop", exif="apply")
    activation = "none" if role == "probabilities" else "sigmoid" if task == "multi-label" else "softmax"
    labels = tuple("abcdefghijklmnop"[:classes]) if names is None else tuple(names) or None
    return Contract(inputs=(image,), task=task, outputs=(
        OutputContract(name="scores", role=role, activation=activation, labels=labels, **output),))


FACTS = DeviceFacts(name="board", machine="aarch64", emulated=False, cores=4, governor="performance",
                    clocks_mhz=(1500.0,) * 4, temperature_c=40.0, load=0.1)
EMULATED = DeviceFacts(name="qemu", machine="aarch64", emulated=True, emulator="qemu-aarch64 7.2.0")


class FakeSession:
    """answer: pixels (H, W, C) -> (classes,). clock: what successive runs take, in ns."""

    def __init__(self, answer: Callable[[Array], Sequence[float]] | None = None, *, contract: Contract | None = None,
                 batches: tuple[int, ...] = (1,), clock: Iterable[int] = (), emulated: bool = False,
                 artifact_hash: str = "a" * 64, facts: Sequence[DeviceFacts] | None = None, threads: int = 1) -> None:
        self.answer = answer
        self.contract = contract or _default_contract()
        self.batches = batches
        self.artifact_hash = artifact_hash
        self.threads = threads
        self.emulated = emulated
        self.inputs = (TensorSpec(name="image", dtype="float32", shape=(min(batches), 3, 2, 2)),)
        self.outputs = (TensorSpec(name="scores", dtype="float32", shape=(min(batches), 4)),)
        self.clock = iter(clock)
        self.measured: list[MeasureSettings] = []
        self._facts = list(facts or [EMULATED if emulated else FACTS])

    def run(self, feed: Mapping[str, Any]) -> dict[str, Array]:
        value = feed["image"]
        if isinstance(value, np.ndarray):
            group = list(value)
        else:
            group = [p.data for p in ([value] if isinstance(value, Pixels) else value)]
        assert len(group) in self.batches, f"a batch of {len(group)}"
        assert self.answer is not None
        return {"scores": np.array([self.answer(pixels) for pixels in group], np.float32)}

    def measure(self, settings: MeasureSettings) -> Samples:
        self.measured.append(settings)
        if self.emulated:
            return Samples(kind="instructions", values=(next(self.clock),))
        return Samples(kind="time_ns", values=tuple(next(self.clock) for _ in range(settings.runs)))

    def profile(self, runs: int = 10) -> list[KernelTime]:
        return []

    def facts(self) -> DeviceFacts:
        return self._facts.pop(0) if len(self._facts) > 1 else self._facts[0]

    def close(self) -> None: ...

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None: ...


def _default_contract() -> Contract:
    return contract()
