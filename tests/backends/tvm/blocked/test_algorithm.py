"""Which algorithm a convolution runs with: choices that are forced, budgets, and the error that sends it back."""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec
import numpy as np
import pytest

from edgecls.backends.tvm import CompileOptions
from edgecls.backends.tvm.blocked import algorithm
from edgecls.backends.tvm.blocked.algorithm import ERROR_LIMIT, choose
from edgecls.backends.tvm.blocked.families import convolution, winograd_weights
from edgecls.backends.tvm.blocked.window import Window
from edgecls.backends.tvm.winograd_transforms import relative_error
from edgecls.targets import load_target
from edgecls.types import Array

GROWTH = 1.3
TARGET = load_target("raspberry-pi-4")
LARGE = Window(n=1, ci=64, co=64, h=56, w=56, kernel=(3, 3), pad=(1, 1, 1, 1))

TWO_PIPES = load_target("x86-64-avx512")
ONE_PIPE = msgspec.structs.replace(TWO_PIPES, cpu=msgspec.structs.replace(TWO_PIPES.cpu, fma_pipes=1, load_ports=1))
SMALL = msgspec.structs.replace(LARGE, ci=512, co=512, h=7, w=7)


def options(winograd: str, growth: float = GROWTH, strassen: str = "auto") -> CompileOptions:
    return msgspec.convert({"winograd": winograd, "growth": growth, "strassen": strassen}, CompileOptions)


def layer(window: Window) -> tuple[Window, Array]:
    shape = (window.co, window.ci // window.groups, *window.kernel)
    return window, np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("m", ["f2", "f4", "f6"])
def test_a_forced_choice_holds_wherever_it_can(m: str) -> None:
    windows = [LARGE, msgspec.structs.replace(LARGE, h=1, w=2), msgspec.structs.replace(LARGE, stride=(2, 2)),
               msgspec.structs.replace(LARGE, dilation=(2, 2)), msgspec.structs.replace(LARGE, kernel=(1, 1)),
               msgspec.structs.replace(LARGE, pad=(2, 2, 2, 2))]
    chosen = [d.algorithm for d in choose([layer(w) for w in windows], TARGET, options(m, GROWTH))]
    assert chosen == [f"winograd-{m}"] * 2 + ["direct"] * 4


def test_off_is_direct() -> None:
    assert [d.algorithm for d in choose([layer(LARGE)], TARGET, options("off", GROWTH))] == ["direct"]


def test_half_vectors_count_where_they_take_half_the_time() -> None:
    """Of 8 outputs a vector of 16 lanes is half padding."""
    layers = [layer(msgspec.structs.replace(LARGE, ci=512, co=co, h=14, w=14)) for co in (8, 16)]
    for target, expected in ((ONE_PIPE, 0.5), (TWO_PIPES, 1.0)):
        half, whole = (d.predicted_us for d in choose(layers, target, options("off")))
        assert half / whole == pytest.approx(expected, rel=0.06)


LINEAR = Window(n=1, ci=384, co=1536, h=197, w=1, kernel=(1, 1))


def test_large_products_are_strassens_on_x86() -> None:
    """Where additions do not take the place of multiply-adds."""
    x86 = ONE_PIPE
    narrow, single, odd = (msgspec.structs.replace(LINEAR, **change) for change in (
        {"ci": 16}, {"h": 1}, {"co": 16 * 3}))
    layers = [layer(w) for w in (LINEAR, narrow, single, odd)]
    assert [d.algorithm for d in choose(layers, x86, options("auto"))] == ["strassen", *["direct"] * 3]
    assert {d.algorithm for d in choose(layers, x86, options("auto", strassen="off"))} == {"direct"}
    assert {d.algorithm for d in choose(layers, TARGET, options("auto"))} == {"direct"}
    small = msgspec.structs.replace(LINEAR, ci=32, co=32, h=3)
    assert choose([layer(small)], x86, options("auto"))[0].algorithm == "direct"
    assert choose([layer(small)], x86, options("auto", strassen="on"))[0].algorithm == "strassen"
    assert [choose([layer(LINEAR)], TWO_PIPES, options("auto", strassen=choice))[0].algorithm
            for choice in ("auto", "on")] == ["direct", "strassen"]


def test_where_two_pipes_multiply_vectors_of_weights_share_the_elements() -> None:
    """In direct convolution and in Winograd's products; the few elements of a first layer are in the first cache."""
    planar = msgspec.structs.replace(LARGE, ci=3)
    for window, choice in ((LARGE, "off"), (SMALL, "off"), (SMALL, "f2")):
        one, two = (choose([layer(window)], x86, options(choice))[0].tile for x86 in (ONE_PIPE, TWO_PIPES))
        assert one[1] == 1 < two[1] and two[0] * two[1] >= 14
    assert convolution.decide(planar, TWO_PIPES.cpu, planar=True).tile == (28, 1)


def test_where_two_pipes_multiply_weights_cost_time_beside_the_products() -> None:
    """512 channels at 7 x 7: some MB of weights to read, unless the first cache keeps them."""
    def predicted(window: Window) -> tuple[float, float, float]:
        one, two = (choose([layer(window)], x86, options("off"))[0].predicted_us or 0.0
                    for x86 in (ONE_PIPE, TWO_PIPES))
        return one, two, 512 * 512 * math.prod(window.kernel) * 4 / 8 / TWO_PIPES.cpu.clock_mhz

    one, two, reading = predicted(msgspec.structs.replace(SMALL, kernel=(5, 5), pad=(2, 2, 2, 2)))
    assert two - reading == pytest.approx(one / 2, rel=0.2) and reading < two / 2
    one, two, reading = predicted(SMALL)
    assert two == pytest.approx(one / 2, rel=0.2) and reading < two


def test_strassens_error_is_that_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    x86 = ONE_PIPE
    window, weights = layer(LINEAR)
    assert 1e-8 < (choose([(window, weights)], x86, options("auto"))[0].error or 0.0) < 1e-5
    monkeypatch.setattr(algorithm, "_error", lambda window, weights, target, way: 1.0)
    assert choose([(window, weights)], x86, options("auto"))[0].algorithm == "direct"


def test_auto_stays_under_its_budgets() -> None:
    layers = [layer(LARGE), layer(msgspec.structs.replace(LARGE, co=128)),
              layer(msgspec.structs.replace(LARGE, ci=256, co=256, h=14, w=14))]
    decisions = choose(layers, TARGET, options("auto", GROWTH))
    values = [9 if d.algorithm == "direct" or d.chunk else (int(d.algorithm[-1]) + 2) ** 2 for d in decisions]
    packed = sum(math.prod(w.shape[:2]) * v * 4 for (_, w), v in zip(layers, values, strict=True))
    assert packed <= GROWTH * sum(w.nbytes for _, w in layers)
    assert all(d.error is None or d.error <= ERROR_LIMIT for d in decisions)
    assert all(d.predicted_us for d in decisions)


def test_an_error_beyond_the_limit_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose([layer(LARGE)], TARGET, options("auto", 16.0))[0].algorithm != "direct"
    monkeypatch.setattr(algorithm, "_error", lambda window, weights, target, way: 1.0 if way.m > 2 else 1e-6)
    compiled, on_device = (choose([layer(LARGE)], TARGET, options("auto", growth))[0] for growth in (16.0, 1.0))
    assert (compiled.algorithm, compiled.chunk) == ("winograd-f2", 0)
    assert on_device.algorithm == "winograd-f2" and on_device.chunk
    monkeypatch.setattr(algorithm, "_error", lambda window, weights, target, way: 1.0)
    assert choose([layer(LARGE)], TARGET, options("auto", 16.0))[0].algorithm == "direct"


def test_the_error_is_that_of_the_weights_as_they_are_transformed() -> None:
    window, weights = layer(SMALL)
    sample = np.random.default_rng(0).standard_normal((1, window.ci, window.h, window.w), np.float32)
    decision = choose([(window, weights)], TARGET, options("auto", 1.0))[0]
    assert decision.error == pytest.approx(relative_error(weights, int(decision.algorithm[-1]), sample, True), rel=0.05)


def test_without_bytes_to_spare_the_kernel_transforms_the_weights() -> None:
    """Each free change is made, whatever the others would cost."""
    layers = [layer(w) for w in (LARGE, SMALL, msgspec.structs.replace(LARGE, ci=256, co=256, h=14, w=14))]
    decisions = choose(layers, TARGET, options("auto", 1.0))
    assert all(d.algorithm.startswith("winograd") and d.chunk for d in decisions)
    assert all("+0 kB of weights" in d.reason and "on the device" in d.reason for d in decisions)


@pytest.mark.parametrize("target", ["raspberry-pi-4", "armv7", "x86"])
def test_bytes_are_spent_where_they_save_time(target: str) -> None:
    """Transforming weights again for each inference takes time."""
    cpu = ONE_PIPE if target == "x86" else load_target(target)
    window = msgspec.structs.replace(LARGE, ci=128, co=128, h=28, w=28)
    free, spent = (choose([layer(window)], cpu, options("auto", growth))[0] for growth in (1.0, 10.0))
    assert free.chunk and not spent.chunk
    assert free.predicted_us and spent.predicted_us and spent.predicted_us < free.predicted_us


def test_a_budget_for_one_goes_where_it_gains_most() -> None:
    """The free change of one layer neither keeps it from a better one nor takes the bytes of another."""
    layers = [layer(SMALL), layer(SMALL)]
    growth = 1 + 1.05 * (36 - 9) / 9 / 2  # for F(4) once
    decisions = choose(layers, TARGET, options("auto", growth))
    assert sorted(bool(d.chunk) for d in decisions) == [False, True]


@pytest.mark.parametrize("m", [2, 4, 6])
def test_what_a_kernel_transforms_at_a_time_fits_the_cache(m: int) -> None:
    for window in (LARGE, SMALL, msgspec.structs.replace(SMALL, ci=13, co=7)):
        decision = winograd_weights.decide(window, TARGET.cpu, m)
        made = (m + 2) ** 2 * decision.chunk * decision.tile[1] * 4 * 4
        assert decision.chunk % 4 == 0 and made <= TARGET.cpu.cache.l2 // 8


def test_one_strip_takes_all_images_while_they_fit() -> None:
    tiles = {n: winograd_weights.decide(msgspec.structs.replace(SMALL, n=n, ci=64), TARGET.cpu, 4).strip
             for n in (1, 2, 4)}
    assert tiles == {1: 4, 2: 8, 4: 16}


def test_all_batch_sizes_come_to_the_same_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where alone they would not."""
    monkeypatch.setattr(algorithm, "_winograd_cycles", lambda window, target, way: 1e9 if window.n == 1 else 1e3)

    def chosen(batch: int, known: tuple[int, ...]) -> str:
        images = [layer(msgspec.structs.replace(LARGE, n=batch))]
        return choose(images, TARGET, options("auto", 4.0), [Fraction(b, batch) for b in known])[0].algorithm

    assert chosen(1, (1,)) == "direct" != chosen(16, (16,))
    assert chosen(1, (1, 16)) == chosen(16, (1, 16))


@pytest.mark.parametrize("co", [49, 67])
def test_free_changes_need_no_bytes_where_padding_has_used_them_up(co: int) -> None:
    """Packed weights of channels that do not fill vectors are more than the network's, and so may be over the limit."""
    decision, = choose([layer(msgspec.structs.replace(LARGE, co=co, h=28, w=28))], TARGET, options("auto", 1.0))
    assert decision.chunk and "+0 kB of weights" in decision.reason
