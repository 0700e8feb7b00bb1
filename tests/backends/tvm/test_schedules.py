"""Scheduled loops compute what numpy computes, on shapes that are multiples of nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecls.backends.tvm.environment import import_tvm
from edgecls.backends.tvm.providers import SimpleProvider
from edgecls.backends.tvm.schedule import Decision
from edgecls.backends.tvm.schedules import apply_decision, describe_workload
from edgecls.targets import load_target
from edgecls.types import Array

SETTINGS = settings(max_examples=12, deadline=None, derandomize=True,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors])
TARGETS = ("raspberry-pi-4", "armv7", "x86-64-avx512")


def run(function: Any, decision: Decision, arrays: list[Array], shape: tuple[int, ...]) -> Array:
    """Compile for this machine and run."""
    tvm = import_tvm()
    scheduled, _ = apply_decision(function, decision)
    module = tvm.IRModule({"main": scheduled.with_attr("global_symbol", "main")})
    library = tvm.compile(module, target="llvm")
    out = tvm.runtime.tensor(np.full(shape, np.nan, np.float32))
    library["main"](*[tvm.runtime.tensor(a) for a in arrays], out)
    return out.numpy()


def matmul_relu(batch: int, rows: int, columns: int, depth: int) -> Any:
    import_tvm()
    from tvm import te

    a = te.placeholder((batch, rows, depth), name="a")
    b = te.placeholder((depth, columns), name="b")
    k = te.reduce_axis((0, depth), "k")
    product = te.compute((batch, rows, columns), lambda n, i, j: te.sum(a[n, i, k] * b[k, j], axis=k), name="product")
    relu = te.compute(product.shape, lambda *i: te.max(product(*i), 0.0), name="relu")
    return te.create_prim_func([a, b, relu])


def row_sum(rows: int, columns: int) -> Any:
    import_tvm()
    from tvm import te

    a = te.placeholder((rows, columns), name="a")
    k = te.reduce_axis((0, columns), "k")
    return te.create_prim_func([a, te.compute((rows,), lambda i: te.sum(a[i, k], axis=k), name="total")])


def decide(function: Any, target: str) -> Decision:
    return SimpleProvider().choose(describe_workload("main", function), load_target(target))


@SETTINGS
@given(target=st.sampled_from(TARGETS), batch=st.integers(1, 3), rows=st.integers(1, 23), columns=st.integers(1, 53),
       depth=st.integers(1, 19))
def test_matrix_products(target: str, batch: int, rows: int, columns: int, depth: int) -> None:
    random = np.random.default_rng(batch * rows * columns * depth)
    a, b = (random.standard_normal(s).astype(np.float32) for s in ((batch, rows, depth), (depth, columns)))
    function = matmul_relu(batch, rows, columns, depth)
    result = run(function, decide(function, target), [a, b], (batch, rows, columns))
    np.testing.assert_allclose(result, np.maximum(a @ b, 0), rtol=1e-4, atol=1e-5)


@SETTINGS
@given(rows=st.integers(1, 40), columns=st.integers(1, 40))
def test_reductions_without_an_epilogue(rows: int, columns: int) -> None:
    a = np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32)
    function = row_sum(rows, columns)
    np.testing.assert_allclose(run(function, decide(function, "raspberry-pi-4"), [a], (rows,)), a.sum(1),
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tile", [(1, 1), (3, 5), (8, 16), (64, 64)])
def test_any_tile_is_correct(tile: tuple[int, int]) -> None:
    """Also tiles that divide nothing, or are larger than the result: a stored decision may be from elsewhere."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(s).astype(np.float32) for s in ((1, 17, 13), (13, 29)))
    result = run(matmul_relu(1, 17, 29, 13), Decision(algorithm="register-tile", tile=tile), [a, b], (1, 17, 29))
    np.testing.assert_allclose(result, np.maximum(a @ b, 0), rtol=1e-4, atol=1e-5)


def test_the_decision_says_what_was_done() -> None:
    """ReLU ends the product, so the tile is taken; a workload tells loops and operations."""
    function = matmul_relu(1, 8, 32, 16)
    workload = describe_workload("main", function)
    assert (workload.family, workload.spatial, workload.reduction) == ("contraction", (1, 8, 32), (16,))
    assert (workload.rows, workload.columns, workload.flops) == (1, 2, 2 * 8 * 32 * 16)
    _, done = apply_decision(function, decide(function, "raspberry-pi-4"))
    assert done.algorithm == "register-tile"
    assert done.tile == (8, 8)
