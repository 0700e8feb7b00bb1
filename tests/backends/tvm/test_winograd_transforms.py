"""The matrices are a convolution exactly, the programs are the matrices exactly, and float32 stays near float64."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecls.backends.tvm.winograd_programs import Program, input_program, output_program, weights_program
from edgecls.backends.tvm.winograd_transforms import (
    convolve,
    exact_matrices,
    input_transform,
    matrices,
    output_transform,
    relative_error,
    scale_weights,
    transform_scaled,
    transform_weights,
)
from edgecls.types import Array

SIZES = (2, 4, 6)


def scaled_input_program(m: int) -> Program:
    return input_transform(m, m, True)


# operations, registers, moves
COSTS = {(input_program, 2): (4, 3, 0), (input_program, 4): (12, 5, 1), (input_program, 6): (22, 8, 2),
         (output_program, 2): (4, 3, 0), (output_program, 4): (10, 5, 0), (output_program, 6): (20, 7, 0),
         (scaled_input_program, 2): (6, 3, 0), (scaled_input_program, 4): (16, 5, 1),
         (scaled_input_program, 6): (28, 8, 2),
         (weights_program, 2): (3, 2, 0), (weights_program, 4): (7, 4, 0), (weights_program, 6): (11, 4, 0)}
fractions = st.fractions(min_value=-9, max_value=9, max_denominator=99)


def direct(weights: Array, x: Array) -> Array:
    """float64 from the definition, one output pixel at a time."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.empty((len(x), len(weights), *x.shape[2:]))
    for i, j in np.ndindex(*x.shape[2:]):
        y[:, :, i, j] = np.tensordot(padded[:, :, i:i + 3, j:j + 3], weights.astype(np.float64), ((1, 2, 3), (1, 2, 3)))
    return y


def layer(out_channels: int, in_channels: int, shape: tuple[int, ...], seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    weights = random.standard_normal((out_channels, in_channels, 3, 3)).astype(np.float32)
    return weights, random.standard_normal((shape[0], in_channels, *shape[1:])).astype(np.float32)


NARROWER = [(m, r) for m in SIZES for r in range(1, m + 1)]


@pytest.mark.parametrize(("m", "outputs"), NARROWER)
@given(data=st.data())
def test_the_matrices_are_a_convolution_exactly(m: int, outputs: int, data: st.DataObject) -> None:
    d = np.array(data.draw(st.lists(fractions, min_size=outputs + 2, max_size=outputs + 2)), object)
    g = np.array(data.draw(st.lists(fractions, min_size=3, max_size=3)), object)
    a_t, g_matrix, b_t = exact_matrices(m, outputs)
    assert list(a_t @ ((g_matrix @ g) * (b_t @ d))) == [sum(d[i:i + 3] * g) for i in range(outputs)]


@pytest.mark.parametrize(("m", "outputs"), NARROWER)
def test_narrower_tiles_use_some_of_the_same_weights(m: int, outputs: int) -> None:
    assert (exact_matrices(m, outputs)[1] == exact_matrices(m)[1][:outputs + 2]).all()


@pytest.mark.parametrize("m", SIZES)
def test_float64_matrices_are_the_exact_ones_rounded(m: int) -> None:
    for matrix, exact in zip(matrices(m), exact_matrices(m), strict=True):
        assert matrix.dtype == np.float64 and matrix.shape == exact.shape
        assert all(value == float(e) for value, e in zip(matrix.flat, exact.flat, strict=True))


@pytest.mark.parametrize(("m", "outputs"), NARROWER)
def test_the_programs_are_the_matrices_exactly(m: int, outputs: int) -> None:
    t = outputs + 2
    identity = np.array([[Fraction(i == j) for j in range(t)] for i in range(t)], object)
    a_t, _, b_t = exact_matrices(m, outputs)
    assert (input_transform(m, outputs, False).apply(identity) == b_t).all()
    assert (output_transform(m, outputs).apply(identity) == a_t).all()


@pytest.mark.parametrize(("m", "outputs"), NARROWER)
@given(data=st.data())
def test_weights_that_a_kernel_transforms_are_a_convolution_exactly(m: int, outputs: int, data: st.DataObject) -> None:
    """In one dimension, where the scale of the stored weights counts once instead of twice."""
    d = np.array(data.draw(st.lists(fractions, min_size=outputs + 2, max_size=outputs + 2)), object)
    g = np.array(data.draw(st.lists(fractions, min_size=3, max_size=3)), object)
    ones = np.ones((1, 1, 3, 3), np.float32)
    # of these fractions float32 has only the nearest
    scale = [Fraction(float(s)**0.5).limit_denominator(1000) for s in np.diag(scale_weights(ones, m)[0, 0])]
    a_t, _, _ = exact_matrices(m, outputs)
    u = weights_program(m).apply(g * scale)[:outputs + 2]
    v = input_transform(m, outputs, True).apply(d)
    found, expected = list(a_t @ (u * v)), [sum(d[i:i + 3] * g) for i in range(outputs)]
    assert found == expected or found == [-x for x in expected]


@pytest.mark.parametrize(("make", "m"), COSTS)
def test_what_a_program_costs(make: object, m: int) -> None:
    program: Program = make(m)  # type: ignore[operator]
    assert (len(program.steps), program.max_live, program.copies) == COSTS[make, m]  # type: ignore[index]


@pytest.mark.parametrize(("make", "m"), COSTS)
def test_a_program_is_straight_line_code(make: object, m: int) -> None:
    program: Program = make(m)  # type: ignore[operator]
    inputs = program.inputs
    assert inputs == (3 if make is weights_program else m + 2)
    assert [s.destination for s in program.steps] == list(range(inputs, inputs + len(program.steps)))
    assert all(max(s.reads) < s.destination and s.factor for s in program.steps)
    read = {value for s in program.steps for value in s.reads}
    assert read | set(program.outputs) == set(range(inputs + len(program.steps)))
    assert len(set(program.outputs)) == len(program.outputs)
    # but for the points 0 and infinity of weights, which are weights
    assert make is weights_program or min(program.outputs) >= inputs


@pytest.mark.parametrize("m", SIZES)
def test_weights_are_rounded_once(m: int) -> None:
    weights, _ = layer(3, 2, (1, 1, 1))
    _, g, _ = exact_matrices(m)
    exact = [[g @ np.vectorize(Fraction, otypes=[object])(kernel.astype(float)) @ g.T for kernel in row]
             for row in weights]
    u = transform_weights(weights, m)
    assert u.shape == ((m + 2) ** 2, 2, 3) and u.dtype == np.float32 and u.flags.c_contiguous
    for o, i in np.ndindex(3, 2):
        expected = exact[o][i].astype(np.float64).ravel()
        np.testing.assert_allclose(u[:, i, o], expected, rtol=2**-24 * 1.001, atol=1e-15)


@pytest.mark.parametrize("m", SIZES)
def test_transformed_by_a_kernel_they_are_the_same_but_for_the_scales(m: int) -> None:
    weights, _ = layer(3, 2, (1, 1, 1))
    scaled = scale_weights(weights, m)
    assert scaled.shape == weights.shape and scaled.dtype == np.float32
    found, expected = transform_scaled(scaled, m), transform_weights(weights, m)
    assert found.shape == expected.shape == ((m + 2) ** 2, 2, 3)
    scales = np.median(found / expected, (1, 2), keepdims=True)
    assert np.abs(found - scales * expected).max() <= 1e-6 * np.abs(found).max()


@settings(max_examples=60)
@given(m=st.sampled_from(SIZES), on_device=st.booleans(), exact=st.booleans(), out_channels=st.integers(1, 13),
       in_channels=st.integers(1, 13), shape=st.tuples(st.integers(1, 2), st.integers(1, 15), st.integers(1, 15)),
       seed=st.integers(0, 2**32 - 1))
def test_any_size_is_near_the_direct_convolution(m: int, on_device: bool, exact: bool, out_channels: int,
                                                 in_channels: int, shape: tuple[int, int, int], seed: int) -> None:
    """The bound is against the largest terms of a sum, which may cancel."""
    weights, x = layer(out_channels, in_channels, shape, seed)
    y = convolve(weights, m, x, on_device, exact)
    assert y.dtype == np.float32 and y.shape == (shape[0], out_channels, *shape[1:])
    scale = np.abs(weights).max() * np.abs(x).max() * 9 * in_channels
    assert np.abs(y - direct(weights, x)).max() <= {2: 1e-6, 4: 4e-6, 6: 3e-5}[m] * scale


@pytest.mark.parametrize("m", SIZES)
def test_the_error_is_measured_against_the_definition(m: int) -> None:
    weights, x = layer(5, 7, (1, 9, 13))
    reference = direct(weights, x)
    expected = np.abs(convolve(weights, m, x) - reference).max() / np.abs(reference).max()
    assert relative_error(weights, m, x) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("on_device", [False, True])
def test_larger_tiles_are_less_exact(on_device: bool) -> None:
    weights, x = layer(64, 96, (1, 40, 31))
    f2, f4, f6 = (relative_error(weights, m, x, on_device) for m in SIZES)
    assert 1e-7 < f2 < 2e-6 and f2 < f4 < 1e-5 and f4 < f6 < 5e-5


def test_a_layer_of_zeros_has_no_error() -> None:
    weights, x = layer(2, 2, (1, 4, 4))
    assert relative_error(0 * weights, 4, x) == 0
