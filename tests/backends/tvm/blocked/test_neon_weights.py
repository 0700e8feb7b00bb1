"""AArch64's transform of weights, executed instruction by instruction on numpy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecls.backends.tvm.blocked import neon_weights
from edgecls.backends.tvm.winograd_programs import weights_program
from edgecls.backends.tvm.winograd_transforms import transform_scaled
from edgecls.types import Array

_WEIGHTS, _RESULTS, _FACTORS, _SIZE = 1000, 20_000, 190_000, 200_000


def execute(text: str, memory: Array, pointers: dict[str, int]) -> int:
    """Memory is floats, pointers are bytes. Returns how many instructions ran."""
    lines = text.split(r"\0A")
    vectors: dict[str, Array] = {}
    executed, place = 0, 0
    while place < len(lines):
        line = lines[place]
        place += 1
        if line == "1:":
            continue
        executed += 1
        name, rest = re.sub(r"\.4s|\.16b|:w|[{}\[\]]", "", line).split(" ", 1)
        operands = rest.split(", ")
        if name in ("ld1", "st1"):
            *registers, pointer, step = operands
            numbers = [int(r[1:]) for r in registers]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            for i, register in enumerate(registers):
                at = pointers[pointer] // 4 + 4 * i
                if name == "ld1":
                    assert not np.isnan(memory[at:at + 4]).any(), "reads what it was not given"
                    vectors[register] = memory[at:at + 4].copy()
                else:
                    assert np.isnan(memory[at:at + 4]).all(), "writes what is not a result, or twice"
                    memory[at:at + 4] = vectors[register]
            pointers[pointer] += int(step[1:]) if step.startswith("#") else pointers[step]
        elif name == "ldr":
            at = pointers[operands[1]] // 4
            vectors[operands[0].replace("q", "v")] = memory[at:at + 4].copy()
        elif name == "subs":
            pointers[operands[0]] -= 1
        elif name == "b.ne":
            place = lines.index("1:") if pointers["$2"] else place
        else:
            compute(name, operands, vectors)
    return executed


def compute(name: str, operands: list[str], vectors: dict[str, Array]) -> None:
    to, first, *others = operands
    if name == "mov":
        vectors[to] = vectors[first].copy()
        return
    register, _, lane = others[0].partition(".s")
    second = vectors[register][int(lane)] if lane else vectors[register]
    product = vectors[first] * second
    vectors[to] = {"fadd": lambda: vectors[first] + second, "fsub": lambda: vectors[first] - second,
                   "fmul": lambda: product, "fmla": lambda: vectors[to] + product,
                   "fmls": lambda: vectors[to] - product}[name]()


@given(m=st.sampled_from([2, 4, 6]), width=st.integers(1, 2), kernels=st.integers(1, 5), gap=st.integers(0, 40),
       spread=st.integers(0, 3), seed=st.integers(0, 2**16))
def test_results_lie_where_they_are_to_and_nothing_else_is_touched(m: int, width: int, kernels: int, gap: int,
                                                                   spread: int, seed: int) -> None:
    program = weights_program(m)
    forward = (width + spread) * 4
    stride = kernels * forward + gap * 4
    scaled = np.random.default_rng(seed).standard_normal((width * 4, kernels, 3, 3)).astype(np.float32)
    memory = np.full(_SIZE, np.nan, np.float32)
    packed = scaled.reshape(width, 4, kernels, 9).transpose(2, 3, 0, 1).reshape(-1)
    memory[_WEIGHTS:_WEIGHTS + packed.size] = packed
    memory[_FACTORS:_FACTORS + 4] = ([float(c) for c in program.constants] + [0.0] * 4)[:4]
    name, text = neon_weights.function(program, width, stride, forward)
    code = re.search(r'asm sideeffect "([^"]*)"', text)
    steps = re.search(r"i64 (-?\d+), i64 (-?\d+)\)$", text, re.MULTILINE)
    assert code
    assert steps
    assert name in text
    execute(code[1], memory, {"$0": 4 * _WEIGHTS, "$1": 4 * _RESULTS, "$2": kernels, "$6": 4 * _FACTORS,
                              "$7": int(steps[1]), "$8": int(steps[2])})
    expected = transform_scaled(scaled, m)  # values, kernels, outputs
    inside = np.zeros(_SIZE, bool)
    for value in range((m + 2) ** 2):
        for kernel in range(kernels):
            at = _RESULTS + value * stride + kernel * forward
            inside[at:at + width * 4] = True
            np.testing.assert_allclose(memory[at:at + width * 4], expected[value, kernel],
                                       atol=2e-6 * np.abs(expected).max())
    assert np.isnan(memory[_RESULTS:_FACTORS][~inside[_RESULTS:_FACTORS]]).all()


@pytest.mark.parametrize("m", [2, 4, 6])
@pytest.mark.parametrize("width", [1, 2])
def test_every_register_that_it_writes_is_named(m: int, width: int) -> None:
    _, text = neon_weights.function(weights_program(m), width, 1000, 8)
    code, constraints = re.findall(r'"([^"]*)"', text)
    used = {int(r) for r in re.findall(r"\b[vq](\d+)", code)}
    assert used == {int(r) for r in re.findall(r"~\{v(\d+)\}", constraints)}
    assert max(used) < 32


def test_two_vectors_share_their_loads_and_stores() -> None:
    """Instructions of one kernel and vector."""
    for m, most in ((2, 33), (4, 85), (6, 158)):
        _, text = neon_weights.function(weights_program(m), 2, 1000, 8)
        assert text.count(r"\0A") <= 2 * most
