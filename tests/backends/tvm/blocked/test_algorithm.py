"""Which algorithm a convolution runs with: choices that are forced, budgets, and the error that sends it back."""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec
import numpy as np
import pytest

from edgecls.backends.tvm.blocked import algorithm
from edgecls.backends.tvm.blocked.algorithm import ERROR_LIMIT, choose
from edgecls.backends.tvm.blocked.window import Window
from edgecls.targets import load_target
from edgecls.types import Array

GROWTH = 1.3
TARGET = load_target("raspberry-pi-4")
LARGE = Window(n=1, ci=64, co=64, h=56, w=56, kernel=(3, 3), pad=(1, 1, 1, 1))


def layer(window: Window) -> tuple[Window, Array]:
    shape = (window.co, window.ci // window.groups, *window.kernel)
    return window, np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("m", ["f2", "f4", "f6"])
def test_a_forced_choice_holds_wherever_it_can(m: str) -> None:
    windows = [LARGE, msgspec.structs.replace(LARGE, h=1, w=2), msgspec.structs.replace(LARGE, stride=(2, 2)),
               msgspec.structs.replace(LARGE, dilation=(2, 2)), msgspec.structs.replace(LARGE, kernel=(1, 1)),
               msgspec.structs.replace(LARGE, pad=(2, 2, 2, 2))]
    chosen = [d.algorithm for d in choose([layer(w) for w in windows], TARGET, m, GROWTH)]  # type: ignore[arg-type]
    assert chosen == [f"winograd-{m}"] * 2 + ["direct"] * 4


def test_off_is_direct() -> None:
    assert [d.algorithm for d in choose([layer(LARGE)], TARGET, "off", GROWTH)] == ["direct"]


def test_auto_stays_under_its_budgets() -> None:
    layers = [layer(LARGE), layer(msgspec.structs.replace(LARGE, co=128)),
              layer(msgspec.structs.replace(LARGE, ci=256, co=256, h=14, w=14))]
    decisions = choose(layers, TARGET, "auto", GROWTH)
    values = [(int(d.algorithm[-1]) + 2) ** 2 if d.algorithm != "direct" else 9 for d in decisions]
    packed = sum(math.prod(w.shape[:2]) * v * 4 for (_, w), v in zip(layers, values, strict=True))
    assert packed <= GROWTH * sum(w.nbytes for _, w in layers)
    assert all(d.error is None or d.error <= ERROR_LIMIT for d in decisions)
    assert all(d.predicted_us for d in decisions)


def test_an_error_beyond_the_limit_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose([layer(LARGE)], TARGET, "auto", 100.0)[0].algorithm != "direct"
    monkeypatch.setattr(algorithm, "_error", lambda window, weights, m: 1.0 if m > 2 else 1e-6)
    assert choose([layer(LARGE)], TARGET, "auto", 100.0)[0].algorithm == "winograd-f2"
    monkeypatch.setattr(algorithm, "_error", lambda window, weights, m: 1.0)
    assert choose([layer(LARGE)], TARGET, "auto", 100.0)[0].algorithm == "direct"


def test_all_batch_sizes_come_to_the_same_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where alone they would not."""
    monkeypatch.setattr(algorithm, "_winograd_cycles", lambda window, target, m: 1e9 if window.n == 1 else 1e3)

    def chosen(batch: int, known: tuple[int, ...]) -> str:
        images = [layer(msgspec.structs.replace(LARGE, n=batch))]
        return choose(images, TARGET, "auto", 4.0, [Fraction(b, batch) for b in known])[0].algorithm

    assert chosen(1, (1,)) == "direct" != chosen(16, (16,))
    assert chosen(1, (1, 16)) == chosen(16, (1, 16))
