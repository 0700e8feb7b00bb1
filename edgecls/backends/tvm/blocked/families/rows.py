"""Which rows of a kernel lie inside the image."""

from __future__ import annotations

from edgecls.backends.tvm.blocked.simd import Expr, Simd
from edgecls.backends.tvm.blocked.window import Window


def rows_inside(simd: Simd, window: Window, top: Expr) -> tuple[Expr, Expr]:
    """First row of the kernel that reads inside the image, and how many do. top: image row under the kernel's first."""
    kh, d = window.kernel[0], window.dilation[0]
    first: Expr = 0
    end: Expr = kh
    if window.pad[0]:
        first = simd.bind(simd.at_least(simd.tir.floordiv(d - 1 - top, simd.tir.IntImm("int32", d)), 0))
    if window.pad[2] or (window.oh - 1) * window.stride[0] - window.pad[0] + (kh - 1) * d >= window.h:
        end = simd.bind(simd.at_most(simd.tir.floordiv(window.h - top + d - 1, simd.tir.IntImm("int32", d)), kh))
    return first, end - first
