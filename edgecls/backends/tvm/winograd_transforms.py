"""Winograd convolution F(m x m, 3x3), stride 1: Y = A_T [(G g G_T) * (B_T d B)] A on tiles d of t x t, t = m + 2.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015; the matrices are those of Toom and Cook: the
product of two polynomials from its values at t - 1 points and infinity, transposed into a filter. Any distinct points
are right; they decide the rounding error. Pairs +-p halve the transforms (winograd_programs.py), 0 and infinity cost
nothing. Error of float32 as standard deviation over that of the result, in 1e-6, 64 channels, normal data:

    F(2)  1: 0.26   3/4: 0.33   1/2: 0.87
    F(4)  2/3, 3/2: 0.73   5/8, 3/2: 0.74   3/4, 3/2: 0.80   3/4, 4/3: 0.89   1/2, 2: 1.04   1, 2: 1.65   1, 1/2: 1.67
    F(6)  1/2, 1, 2: 3.15   1/2, 1, 7/4: 3.38   1, 5/8, 7/4: 4.08   2/3, 1, 3/2: 6.56   3/4, 1, 5/4: 27   1, 2, 3: 150

F(4) is thus better off without the usual 1; F(6) wants its squares geometric, which also saves operations. (One
square the sum of the other two, as in 3/4, 1, 5/4, would save three more by our count, at 9 times the error.)

A column of A_T may be scaled if its row of G or B_T is divided. Powers of two change nothing in floating point
(measured: equal to the last bit), and rows of B_T of unit or balanced norm were 1 % worse through rounded constants. So
B_T keeps monic polynomials, exact in float32 but for F(4), and the scales serve to make coefficients of A_T 1.

Where a kernel transforms its weights itself, G = D W T. T = diag(1, p, p^2) makes a pair of points of W +-1; W is the
program of winograd_programs.py. The bundle has T g T times the square of D's most frequent element, and the rows of B_T
are multiplied by what is left of D, since such layers have few tiles. The error comes out alike: 3.9e-7 and 4.0e-7 for
F(2), 1.9e-6 and 1.8e-6 for F(4), 1.0e-5 and 0.9e-5 for F(6), 128 channels, relative to the largest result.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import product
from math import prod

import numpy as np

from edgecls.backends.tvm.winograd_programs import (
    Program,
    input_program,
    of_matrix,
    output_program,
    weights_program,
)
from edgecls.backends.tvm.winograd_tiles import spans
from edgecls.types import Array

_F = Fraction
_POINTS = {2: (_F(1),), 4: (_F(2, 3), _F(3, 2)), 6: (_F(1, 2), _F(1), _F(2))}
_SCALES = {2: (_F(1),), 4: (_F(9, 4), _F(2, 3)), 6: (_F(1), _F(1), _F(1))}
# p of T = diag(1, p, p^2)
_UNIT_POINTS = {2: _F(1), 4: _F(2, 3), 6: _F(1)}
_CROP = 24
_CHANNELS = 64


def exact_matrices(m: int, outputs: int = 0) -> tuple[Array, Array, Array]:
    """(A_T (r, r + 2), G (r + 2, 3), B_T (r + 2, r + 2)) of Fractions, r = outputs or m: rows of G and B_T are the
    points 0, infinity, p, -p, ...

    outputs: with fewer than m, the first rows of the same G, so that a narrower tile uses some of the same transformed
    weights. That G's rows are divided by the differences to all points of F(m), those that are left out are made good
    in B_T.
    """
    outputs = outputs or m
    every = [_F(0), *(sign * p for p in _POINTS[m] for sign in (1, -1))]
    scales = [_F(1), *(s for s in _SCALES[m] for _ in range(2))]
    points, left_out = every[:outputs + 1], every[outputs + 1:]
    a, g, b = [], [], []
    for i, (p, scale) in enumerate(zip(points, scales, strict=False)):
        norm = scale * prod(p - q for q in every if q != p)
        more = prod((p - q for q in left_out), start=_F(1))
        a.append([scale * p**k for k in range(outputs)])
        g.append([p**k / norm for k in range(3)])
        b.append([*(c * more for c in _monic(points[:i] + points[i + 1:])), _F(0)])
    a.insert(1, [_F(k == outputs - 1) for k in range(outputs)])
    g.insert(1, [_F(0), _F(0), _F(1)])
    b.insert(1, _monic(points))
    return np.array(a, object).T, np.array(g, object), np.array(b, object)


def _monic(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, lowest first, of the polynomial with these roots."""
    polynomial = [_F(1)]
    for root in roots:
        polynomial = [high - root * low for high, low in zip([_F(0), *polynomial], [*polynomial, _F(0)], strict=True)]
    return polynomial


def matrices(m: int) -> tuple[Array, Array, Array]:
    """(A_T (m, t), G (t, 3), B_T (t, t)), float64."""
    a, g, b = (matrix.astype(np.float64) for matrix in exact_matrices(m))
    return a, g, b


def transform_weights(weights: Array, m: int) -> Array:
    """OIHW float32 -> U (t * t, Ci, Co) float32, G g G_T in float64 and rounded once."""
    out_channels, in_channels = weights.shape[:2]
    _, g, _ = matrices(m)
    columns = weights.transpose(2, 3, 1, 0).reshape(3, -1).astype(np.float64)
    rows = (g @ columns).reshape(m + 2, 3, in_channels * out_channels)
    u = np.empty((m + 2, m + 2, in_channels * out_channels), np.float32)
    for i, row in enumerate(rows):
        u[i] = g @ row
    return u.reshape((m + 2) ** 2, in_channels, out_channels)


@cache
def _scales(m: int) -> tuple[tuple[Fraction, ...], Fraction]:
    """D of G = D W T divided by its most frequent element, and that element."""
    _, g, _ = exact_matrices(m)
    identity = np.array([[_F(i == j) for j in range(3)] for i in range(3)], object)
    w = weights_program(m).apply(identity) * [_UNIT_POINTS[m]**k for k in range(3)]
    d = [next(a / b for a, b in zip(exact, own, strict=True) if b) for exact, own in zip(g, w, strict=True)]
    most = max(d, key=d.count)
    return tuple(row / most for row in d), most


@cache
def input_transform(m: int, outputs: int, on_device: bool) -> Program:
    """B_T for `outputs` results, up to m. on_device: D B_T, for weights that `transform_scaled` transforms."""
    scales = _scales(m)[0][:outputs + 2] if on_device else (_F(1),) * (outputs + 2)
    if outputs == m:
        return input_program(m).scaled(scales)
    return of_matrix(np.array(scales)[:, None] * exact_matrices(m, outputs)[2])


@cache
def output_transform(m: int, outputs: int) -> Program:
    """A_T for `outputs` results, up to m."""
    return output_program(m) if outputs == m else of_matrix(exact_matrices(m, outputs)[0])


def scale_weights(weights: Array, m: int) -> Array:
    """OIHW float32 -> the same shape, rounded once: what `transform_scaled` begins with."""
    t = [float(_scales(m)[1] * _UNIT_POINTS[m]**k) for k in range(3)]
    scaled: Array = weights * np.outer(t, t)
    return scaled.astype(np.float32)


def transform_scaled(scaled: Array, m: int) -> Array:
    """OIHW of `scale_weights` -> U (t * t, Ci, Co) in float32, as a kernel transforms them."""
    program = weights_program(m)
    u = _both_ways(scaled.transpose(2, 3, 1, 0), program, program)
    return u.reshape((m + 2) ** 2, *scaled.shape[1::-1])


def convolve(weights: Array, m: int, x: Array, on_device: bool = False, exact: bool = True) -> Array:
    """NCHW -> NCHW, float32: stride 1, padding 1, in the arithmetic of the compiled kernels; a product and its sum
    round separately, as without a fused multiply-add. on_device: the kernel transforms the weights. exact: the last
    tiles have no more results than the image."""
    u = transform_scaled(scale_weights(weights, m), m) if on_device else transform_weights(weights, m)
    u = u.reshape(m + 2, m + 2, *u.shape[1:])
    n, _, height, width = x.shape
    rows, columns = spans(height, m, exact), spans(width, m, exact)
    y = np.empty((n, len(weights), rows[-1].end, columns[-1].end), np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, rows[-1].end + 1 - height), (1, columns[-1].end + 1 - width)))
    for down, across in product(rows, columns):
        sizes = (down.outputs, across.outputs)
        inside = padded[:, :, down.start:down.end + 2, across.start:across.end + 2]
        tiles = np.lib.stride_tricks.sliding_window_view(inside, (sizes[0] + 2, sizes[1] + 2), (2, 3))
        tiles = tiles[:, :, ::sizes[0], ::sizes[1]].transpose(4, 5, 0, 2, 3, 1)  # rows, columns, n, down, across, ci
        v = _both_ways(tiles, *(input_transform(m, size, on_device) for size in sizes))
        products = v.reshape(*v.shape[:2], -1, v.shape[-1]) @ u[:sizes[0] + 2, :sizes[1] + 2]
        own = _both_ways(products.reshape(*v.shape[:-1], -1), *(output_transform(m, size) for size in sizes))
        own = own.transpose(2, 5, 3, 0, 4, 1)
        y[:, :, down.start:down.end, across.start:across.end] = own.reshape(
            n, -1, down.end - down.start, across.end - across.start)
    return y[:, :, :height, :width]


def _both_ways(tiles: Array, rows: Program, columns: Program) -> Array:
    """A program on the first axis, then one on the second."""
    half: Array = rows.apply(tiles).swapaxes(0, 1)
    whole: Array = columns.apply(half).swapaxes(0, 1)
    return whole


def relative_error(weights: Array, m: int, sample: Array, on_device: bool = False, exact: bool = True) -> float:
    """max |Winograd in float32 - direct convolution in float64| / max |direct|, of OIHW weights on an NCHW sample.

    Measured on some 24 x 24 outputs of the first image, which end with tiles as wide as the whole one's, and on at most
    64 output channels spread over all; every input channel counts.
    """
    height, width = (min(extent, _CROP - (_CROP - extent) % m) for extent in sample.shape[2:])
    x = sample[:1, :, :height, :width]
    w = weights[::-(-len(weights) // _CHANNELS)]
    direct = _direct(w, x)
    peak = np.abs(direct).max()
    return float(np.abs(convolve(w, m, x, on_device, exact) - direct).max() / peak) if peak else 0.0


def _direct(weights: Array, x: Array) -> Array:
    """NCHW -> NCHW, float64: 3x3, stride 1, padding 1."""
    height, width = x.shape[2:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    total: Array = sum(np.einsum("oi,nihw->nohw", weights[:, :, i, j].astype(np.float64),
                                 padded[:, :, i:i + height, j:j + width], optimize=True)
                       for i in range(3) for j in range(3))
    return total
