"""exp, sigmoid, tanh, erf, logarithms, powers: accuracy in units in the last place, vectors, no call of a library."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
from elftools.elf.elffile import ELFFile

from edgecls.backends.tvm import CompileOptions, TvmBackend, vector_math
from edgecls.backends.tvm.environment import import_tvm, tvm_target
from edgecls.backends.tvm.replace_math import replace_math
from edgecls.backends.tvm.vector_power import power, power_of
from edgecls.bundle import open_bundle, read_member
from edgecls.devices import open_device
from edgecls.passes import optimize_graph
from edgecls.targets import load_target, native_target
from edgecls.types import Array, ExportedGraph
from tests.models import MODELS, Builder

BOARDS = ("raspberry-pi-4", "armv7", "x86-64-avx2", "x86-64-avx512")
REFERENCE: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "erf": scipy.special.erf,
    "log": np.log, "log1p": np.log1p}
# what the module's docstring states
SILU = (4e-8, 4e-7)  # absolutely, relatively
LIMITS = {"exp": 1.84, "sigmoid": 2.0, "tanh": 1.39, "erf": 1.84, "log": 0.87, "log1p": 1.45}
UNBOUNDED = ("exp", "log", "log1p")
# of vector_power.py: products, roots, and what goes through float64
POWERS = {0.0: 0, 1.0: 0, 2.0: 0.5, 3.0: 1.5, 4.0: 2.0, -1.0: 0.5, 0.5: 0.5, -0.5: 1.5, -2.0: 0.51, 5.0: 0.51,
          -7.0: 0.51, 1 / 3: 0.51, 2.87: 0.51, -1.7: 0.51, 37.5: 0.51}
SUBNORMAL = 2.0**-126
EXPONENT = 0x7ff << 52  # of a float64
# the worst arguments found, where the range reduction and the branches change, and the ends of the results
HARD = (-0.03718498349189758, -0.007374137174338102, -0.0009130242397077382, -0.0005842745304107666,
        0.1363345980644226, 0.16401627659797668, 1.3153403997421265, -3.2428700923919678, 0.55, 1.0, 3.92,
        3.95, 9.01, 10.0, 88.0, 89.0, 88.72283, 88.72284, -87.33654, -87.33655, -88.3701, -88.38, -88.5, -88.7,
        -16.664158, -16.642534255981445, -0.02233222126960754, -0.023936063051223755, -0.566987, 1.0050551,
        1.1777719, 1.1977719, 1.2150896, 0.5514054, -0.000344991, 1.2, 1e-7, -1e-7, 0.34657359, 0.69314718)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38)


def element_wise(name: str, count: int, lanes: int) -> Any:
    """PrimFunc with the call, in a vector loop."""
    tvm = import_tvm()
    from tvm import te

    x = te.placeholder((count,), name="x")
    function = te.create_prim_func([x, te.compute((count,), lambda i: getattr(tvm.tirx, name)(x[i]), name="y")])
    schedule = tvm.s_tir.Schedule(function)
    _, inner = schedule.split(schedule.get_loops(schedule.get_sblock("y"))[0], [None, lanes])
    schedule.vectorize(inner)
    return schedule.mod["main"]


def build(function: Any, target: Any) -> Any:
    tvm = import_tvm()
    with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        return tvm.compile(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), target=target)


def reference(name: str, x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(REFERENCE[name](x.astype(np.float64)))


def check(name: str, x: Array, y: Array, exact: Array, limit: float) -> None:
    """Largest error of normal results; other results are right, subnormal ones may be zero."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(exact.astype(np.float32))
        normal = finite & (np.abs(exact) >= SUBNORMAL)
        binade = (exact.view(np.int64) & EXPONENT).view(np.float64)
        error = np.where(normal, np.abs(y - exact) / (binade * 2.0**-23), 0)
        worst = int(np.argmax(error))
        assert error[worst] <= limit, f"{name}({x[worst]!r}) = {y[worst]!r}, off by {error[worst]}"
        np.testing.assert_array_equal(y[~finite], exact[~finite].astype(np.float32))
    assert np.all(np.abs(y[finite & ~normal]) <= SUBNORMAL), name
    assert name in UNBOUNDED or np.nanmax(np.abs(y), initial=0) <= 1
    if name not in ("log", "log1p"):
        np.testing.assert_array_equal(y, np.abs(y) if name in ("exp", "sigmoid") else np.copysign(y, x))


@pytest.mark.parametrize("fused", [True, False], ids=["native", "baseline"])
@pytest.mark.parametrize("name", LIMITS)
def test_the_stated_error_holds_on_a_sample(name: str, fused: bool) -> None:
    """One in 4093 of all float32, and the hard ones. The baseline of x86-64 has no fused multiply-add."""
    bits = np.arange(0, 1 << 32, 4093, dtype=np.uint64).astype(np.uint32)
    x = np.concatenate([bits.view(np.float32), np.array(HARD + SPECIAL, np.float32), -np.array(HARD, np.float32)])
    x = np.concatenate([x, np.zeros(-len(x) % 16, np.float32)])
    tvm = import_tvm()
    function = replace_math(element_wise(name, len(x), 16))
    y = tvm.runtime.tensor(np.zeros_like(x))
    build(function, tvm_target(native_target()) if fused else "llvm")["main"](tvm.runtime.tensor(x), y)
    check(name, x, y.numpy(), reference(name, x), LIMITS[name])


@pytest.mark.parametrize("target", ["native", "baseline"])
def test_what_only_own_kernels_use_has_the_stated_error(target: str) -> None:
    """GELU absolutely, or relatively beyond 0.1; SiLU likewise; powers of two of what is not positive relatively."""
    tvm = import_tvm()
    from tvm import te

    x = np.concatenate([np.linspace(-130, 0, 400_000), np.linspace(-9, 9, 400_000), -np.geomspace(1e-20, 1e4, 4096),
                        np.geomspace(1e-20, 1e4, 4096)]).astype(np.float32)

    def computed(function: Callable[[Any], Any], given: Array) -> Array:
        data = te.placeholder((len(given),), name="x")
        kernel = te.create_prim_func([data, te.compute((len(given),), lambda i: function(data[i]), name="y")])
        result = tvm.runtime.tensor(np.zeros_like(given))
        build(kernel, tvm_target(native_target()) if target == "native" else "llvm")["main"](
            tvm.runtime.tensor(given), result)
        return np.asarray(result.numpy())

    exact = x.astype(np.float64) * scipy.special.ndtr(x.astype(np.float64))
    error = np.abs(computed(vector_math.gelu, x) - exact)
    assert np.all(error <= np.maximum(2.6e-7, 1e-6 * np.abs(exact)))
    assert np.all(error[np.abs(exact) > 0.1] <= 1e-6 * np.abs(exact[np.abs(exact) > 0.1]))
    assert np.isnan(computed(vector_math.gelu, np.full(16, np.nan, np.float32))).all()
    exact = x * scipy.special.expit(x.astype(np.float64))
    assert np.all(np.abs(computed(vector_math.silu, x) - exact) <= np.maximum(SILU[0], SILU[1] * np.abs(exact)))
    ends = computed(vector_math.silu, np.array([np.nan, np.inf, 3e38, -3e38, 0.0, -0.0, -88, 88] * 2, np.float32))[:8]
    np.testing.assert_array_equal(ends, np.array([np.nan, np.inf, 3e38, ends[3], 0, 0, ends[6], 88], np.float32))
    assert np.all(np.abs(ends[[3, 6]]) < 2e-36)
    down = x[(x <= 0) & (x >= -64)]
    exact = np.exp2(down.astype(np.float64))
    assert np.all(np.abs(computed(vector_math.exp2_down, down) - exact) <= 1.8e-7 * exact)
    # nothing beside the 1 of a softmax, and with any value far from subnormal
    far = computed(vector_math.exp2_down, np.array([-np.inf, -1e30, -127.0, -65.0] * 8, np.float32))
    assert np.all(np.abs(far - 2.0**-64) <= 1.8e-7 * 2.0**-64)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_the_stated_error_holds_for_all_arguments(name: str) -> None:
    tvm = import_tvm()
    count = 1 << 18
    functions = [build(replace_math(element_wise(name, count, 16)), target)["main"]
                 for target in (tvm_target(native_target()), "llvm")]

    def part(start: int) -> None:
        x = np.arange(start, start + count, dtype=np.uint64).astype(np.uint32).view(np.float32)
        exact = reference(name, x)
        for function in functions:
            y = tvm.runtime.tensor(np.zeros(count, np.float32))
            function(tvm.runtime.tensor(x), y)
            check(name, x, y.numpy(), exact, LIMITS[name])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(part, range(0, 1 << 32, count)):
            pass


def powers(exponent: float, count: int) -> Any:
    """PrimFunc: every x to the exponent, in a vector loop."""
    tvm = import_tvm()
    from tvm import te

    x = te.placeholder((count,), name="x")
    function = te.create_prim_func([x, te.compute((count,), lambda i: power(x[i], exponent), name="y")])
    schedule = tvm.s_tir.Schedule(function)
    _, inner = schedule.split(schedule.get_loops(schedule.get_sblock("y"))[0], [None, 16])
    schedule.vectorize(inner)
    return schedule.mod["main"]


@pytest.mark.parametrize("target", ["native", "baseline"])
@pytest.mark.parametrize("exponent", POWERS)
def test_powers(exponent: float, target: str) -> None:
    """One in 40,009 of all float32, with zeros, infinities and NaN, against float64."""
    tvm = import_tvm()
    bits = np.arange(0, 1 << 32, 40009, dtype=np.uint64).astype(np.uint32)
    x = np.concatenate([bits.view(np.float32), np.linspace(0.01, 50, 50021, dtype=np.float32),
                        np.array(SPECIAL if abs(exponent) != 0.5 else (0.0, np.inf, np.nan), np.float32)])
    x = np.concatenate([x, np.ones(-len(x) % 16, np.float32)])
    rounded = float(np.float32(exponent))
    y = tvm.runtime.tensor(np.zeros_like(x))
    llvm = tvm_target(native_target()) if target == "native" else "llvm"
    build(powers(rounded, len(x)), llvm)["main"](tvm.runtime.tensor(x), y)
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), rounded)
        single = exact.astype(np.float32)
        normal = np.isfinite(single) & (np.abs(exact) >= SUBNORMAL)
        error = np.where(normal, np.abs(y.numpy() - exact) / np.ldexp(1.0, np.frexp(exact)[1] - 24), 0)
    assert error.max() <= POWERS[exponent], (x[error.argmax()], error.max())
    ends = ~np.isfinite(single)
    np.testing.assert_array_equal(y.numpy()[ends], single[ends])
    assert np.all(np.abs(y.numpy()[~normal & ~ends]) <= SUBNORMAL)


@pytest.mark.parametrize("target", ["native", "baseline"])
def test_powers_of_two_computed_numbers(target: str) -> None:
    """Against float64: any bits, exponents that are halves and wholes, and all pairs of what C's pow names."""
    tvm = import_tvm()
    from tvm import te

    ends = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1.5, -1.5, 2.0**24, 2.0**24 - 1, -2.0**24,
                     2.0**31, 3e38, -3e38, 1e-45, -1e-45, 1e-38, np.inf, -np.inf, np.nan, 37.0, -37.0], np.float32)
    draw = np.random.default_rng(5)
    bits = draw.integers(0, 1 << 32, (2, 400_000), dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = draw.normal(0, 4, (2, 400_000)).astype(np.float32)
    near[1, ::2] = np.round(2 * near[1, ::2]) / 2
    pairs = np.concatenate([bits, near, np.array(np.meshgrid(ends, ends)).reshape(2, -1)], axis=1)
    pairs = np.concatenate([pairs, np.ones((2, -pairs.shape[1] % 16), np.float32)], axis=1)
    count = pairs.shape[1]
    x, y = (te.placeholder((count,), name=name) for name in "xy")
    function = te.create_prim_func([x, y, te.compute((count,), lambda i: power_of(x[i], y[i]), name="z")])
    schedule = tvm.s_tir.Schedule(function)
    _, inner = schedule.split(schedule.get_loops(schedule.get_sblock("z"))[0], [None, 16])
    schedule.vectorize(inner)
    result = tvm.runtime.tensor(np.zeros(count, np.float32))
    build(schedule.mod["main"], tvm_target(native_target()) if target == "native" else "llvm")["main"](
        *(tvm.runtime.tensor(np.ascontiguousarray(side)) for side in pairs), result)
    with np.errstate(all="ignore"):
        exact = np.power(*pairs.astype(np.float64))
        single = exact.astype(np.float32)
        normal = np.isfinite(single) & (np.abs(exact) >= SUBNORMAL)
        error = np.where(normal, np.abs(result.numpy() - exact) / np.ldexp(1.0, np.frexp(exact)[1] - 24), 0)
    assert normal.sum() > count / 4
    assert error.max() <= 0.51, (pairs[:, error.argmax()], error.max())
    beyond = ~np.isfinite(single) | (single == 0)
    np.testing.assert_array_equal(result.numpy()[beyond], single[beyond])
    signs = np.signbit(result.numpy()) == np.signbit(single)
    assert np.all(signs | np.isnan(single)), pairs[:, ~signs]
    assert np.all(np.abs(result.numpy()[~normal & ~beyond]) <= SUBNORMAL)


@pytest.mark.parametrize("target", ["raspberry-pi-4", "armv7"])
def test_the_stated_error_holds_on_boards(target: str, tmp_path: Path) -> None:
    """Executed by qemu; armv7 flushes subnormal numbers."""
    points = np.concatenate([np.linspace(-12, 12, 4001), np.geomspace(1e-30, 100, 999), -np.geomspace(1e-30, 100, 999),
                             HARD, SPECIAL]).astype(np.float32)
    b = Builder(opset=20)
    x = b.input("x", ("batch", len(points)))
    functions = [name for name in LIMITS if name != "log1p"]  # ONNX has none
    for name in functions:
        b.output(b.node(name.capitalize(), x), name)
    b.output(b.node("Pow", x, b.constant(2.87, np.float32)), "power")
    artifact = TvmBackend().compile(optimize_graph(b.finish(), (1,)), load_target(target), CompileOptions(),
                                    tmp_path / "m.ecls")
    with open_device("qemu", load_target(target)) as device, TvmBackend().open_session(artifact, device) as session:
        answers = session.run({"x": points[None]})
    for name in functions:
        check(name, points, answers[name][0], reference(name, points), LIMITS[name])
    with np.errstate(all="ignore"):
        exact = np.power(points.astype(np.float64), float(np.float32(2.87)))
        normal = np.isfinite(exact.astype(np.float32)) & (exact >= SUBNORMAL)
    np.testing.assert_array_less(np.abs(answers["power"][0][normal] / exact[normal] - 1), 2.0**-23)
    np.testing.assert_array_equal(np.isnan(answers["power"][0]), np.isnan(exact))


def gates() -> ExportedGraph:
    """What classifiers are made of: gates, GELU and softmax."""
    b = Builder(opset=20)
    x = b.input("x", ("batch", 16, 12))
    for op in ("Sigmoid", "Tanh", "Gelu", "HardSwish", "HardSigmoid", "Elu", "Softmax", "Mish", "Softplus", "Softsign",
               "Sqrt"):
        b.output(b.node(op, x), op.lower())
    b.output(b.node("Gelu", x, approximate="tanh"), "gelu_tanh")
    b.output(b.node("Mul", x, b.node("Sigmoid", x)), "silu")
    b.output(b.node("Pow", x, b.constant(0.45, np.float32)), "power")
    b.output(b.node("Pow", b.node("Sigmoid", x), x), "computed_power")
    return b.finish()


@pytest.mark.parametrize("target", BOARDS)
@pytest.mark.parametrize("make", [gates, MODELS["attention"], MODELS["classifier"]],
                         ids=["gates", "attention", "classifier"])
def test_a_model_calls_no_library(make: Callable[[], ExportedGraph], target: str, tmp_path: Path) -> None:
    artifact = TvmBackend().compile(optimize_graph(make(), (1,)), load_target(target), CompileOptions(),
                                    tmp_path / "m.ecls")
    elf = ELFFile(io.BytesIO(read_member(open_bundle(artifact.path), "model.so")))
    undefined = {s.name for s in elf.get_section_by_name(".dynsym").iter_symbols() if s["st_shndx"] == "SHN_UNDEF"}
    assert undefined <= {"", "memcpy", "memset"}


@pytest.mark.parametrize("target", BOARDS)
@pytest.mark.parametrize("name", LIMITS)
def test_vector_loops_stay_vector_loops(name: str, target: str) -> None:
    llvm = tvm_target(load_target(target))
    plain = build(element_wise(name, 64, 8), llvm).mod.inspect_source("ll")
    own = build(replace_math(element_wise(name, 64, 8)), llvm).mod.inspect_source("ll")
    scalar = r"= f(?:mul|add|sub|div|cmp)(?: \w+)* float "
    assert re.search(rf"call .*(?:{name}|exp)", plain), "the call that is replaced"
    assert "<8 x float>" in own
    assert not re.search(scalar, own)
    assert not re.search(r"call .*@(?!llvm\.|main_compute_|__tvm)", own)


def test_other_types_and_calls_stay() -> None:
    tvm = import_tvm()
    import tvm_ffi
    from tvm import te

    x = te.placeholder((4,), "float64", name="x")
    function = te.create_prim_func([x, te.compute((4,), lambda i: tvm.tirx.exp(x[i]), name="y")])
    assert tvm_ffi.structural_equal(replace_math(function), function)
    rest = element_wise("log2", 16, 4)
    assert tvm_ffi.structural_equal(replace_math(rest), rest)


def test_calls_inside_calls_and_unrolled_rows() -> None:
    """A SiLU of a SiLU behind an unrolled reduction: every copy of a row has its own values."""
    tvm = import_tvm()
    from tvm import te

    random = np.random.default_rng(0)
    a, b = (random.standard_normal(s).astype(np.float32) for s in ((8, 5), (5, 16)))
    p, q = te.placeholder(a.shape, name="a"), te.placeholder(b.shape, name="b")
    k = te.reduce_axis((0, 5), "k")
    product = te.compute((8, 16), lambda i, j: te.sum(p[i, k] * q[k, j], axis=k), name="product")
    sigmoid = tvm.tirx.sigmoid
    gated = te.compute((8, 16), lambda i, j: sigmoid(product[i, j] * sigmoid(product[i, j])), name="gated")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([p, q, gated]))
    rows, columns = schedule.get_loops(schedule.get_sblock("gated"))
    outer, row = schedule.split(rows, [None, 4])
    schedule.compute_at(schedule.get_sblock("product"), outer)
    schedule.unroll(row)
    schedule.vectorize(columns)
    out = tvm.runtime.tensor(np.zeros((8, 16), np.float32))
    build(replace_math(schedule.mod["main"]), "llvm")["main"](
        tvm.runtime.tensor(a), tvm.runtime.tensor(b), out)
    x = a.astype(np.float64) @ b
    np.testing.assert_allclose(out.numpy(), REFERENCE["sigmoid"](x * REFERENCE["sigmoid"](x)), rtol=1e-5)
