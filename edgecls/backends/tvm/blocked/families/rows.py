"""A window that slides along one row of outputs, some of them in registers at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Run, Window, runs


def rows_inside(simd: Simd, window: Window, top: Expr) -> tuple[Expr, Expr]:
    """First row of the kernel that reads inside the image, and how many do. top: image row under the kernel's first."""
    return taps_inside(simd, window, 0, top)


def taps_inside(simd: Simd, window: Window, axis: int, place: Expr,
                around: tuple[int, int] = (0, 0)) -> tuple[Expr, Expr]:
    """The same for rows (axis 0) or columns (axis 1); place: what lies under the kernel's first. around: how many
    before and behind the image count as inside."""
    size, outputs = ((window.h, window.oh), (window.w, window.ow))[axis]
    k, d, pad = window.kernel[axis], window.dilation[axis], window.pad[axis]
    first: Expr = 0
    end: Expr = k
    if pad > around[0]:
        first = simd.bind(simd.at_least(simd.tir.floordiv(d - 1 - around[0] - place, simd.tir.IntImm("int32", d)), 0))
    if (outputs - 1) * window.stride[axis] - pad + (k - 1) * d >= size + around[1]:
        end = simd.bind(simd.at_most(
            simd.tir.floordiv(size + around[1] - place + d - 1, simd.tir.IntImm("int32", d)), k))
    return first, end - first


def piece_of(simd: Simd, piece: Expr, size: int, before: int, count: int) -> tuple[Expr, Expr]:
    """First, and how many, of `count` tiles behind `before` others that belong to a piece of `size` tiles."""
    if isinstance(piece, int) and piece == 0 and size >= before + count:
        return 0, count
    first = simd.bind(simd.at_least(piece * size - before, 0))
    return first, simd.bind(simd.at_most((piece + 1) * size - before, count) - first)


def slide(simd: Simd, window: Window, most: int, row: Expr, start: Callable[[], Expr],
          add: Callable[[Run, list[Any], Expr, Expr], None], store: Callable[[Run, int, Expr, Expr], None]) -> None:
    """Code for one row of outputs, at most `most` at a time.

    start: what each register begins with. add(run, registers, pixel, i): what row i of the kernel adds to them; pixel:
    number of the image's pixel under the kernel's first column and the first output. store(run, r, value, column):
    the r-th of a run's outputs.
    """
    top = simd.bind(row * window.stride[0] - window.pad[0])
    first, count = rows_inside(simd, window, top)
    for run in runs(window, most):
        with simd.loop(run.count) as index:
            column = simd.bind(run.start + index * run.size)
            registers = [simd.register(start()) for _ in range(run.size)]
            with simd.loop(count, start=first) as i:
                pixel = simd.bind((top + i * window.dilation[0]) * window.w + column * window.stride[1] - window.pad[1])
                add(run, registers, pixel, i)
            for r in range(run.size):
                store(run, r, simd.value(registers[r]), column + r)


def steps(window: Window, run: Run) -> Iterator[tuple[int, int, int]]:
    """(output, column of the kernel, pixels from the first one) of all that a run reads in one row of the kernel."""
    for r in range(run.size):
        for tap in range(window.kernel[1]):
            if r in run.taps[tap]:
                yield r, tap, r * window.stride[1] + tap * window.dilation[1]
