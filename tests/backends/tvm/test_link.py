"""Whatever generated code calls is found when it is linked, and does what its name says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import onnx
import pytest

from edgecls.backends.tvm import CompileOptions, TvmBackend
from edgecls.backends.tvm import link as link_module
from edgecls.devices import open_device
from edgecls.errors import ToolchainError
from edgecls.passes import optimize_graph
from edgecls.targets import load_target
from edgecls.toolchain import Toolchain, find_toolchain
from edgecls.types import ExportedGraph
from tests.models import MODELS, Builder, assert_close, random_feed, run_onnxruntime

ARMV7 = load_target("armv7")
SYSROOT = "/usr/arm-linux-gnueabihf"


@pytest.fixture(params=["gcc", "zig"])
def compiler(request: pytest.FixtureRequest) -> Toolchain:
    """Each compiler for armv7: zig is taken where the result must load with an older glibc than gcc's own."""
    found = find_toolchain("armv7", glibc="2.28" if request.param == "zig" else None)
    assert found.kind == request.param
    return found


def casts() -> ExportedGraph:
    """float32 -> int64 -> float32 and back, with int64 arithmetic between that no constant folding removes."""
    b = Builder()
    x = b.input("x", ("batch", 7))
    n = b.node("Cast", b.node("Mul", x, b.constant(1e11, np.float32)), to=onnx.TensorProto.INT64)
    thousand = b.constant([1000, -7, 3, 99991, -5, 12, 1 << 33], np.int64)
    b.output(n, "integers")
    b.output(b.node("Div", n, thousand), "quotients")
    b.output(b.node("Cast", b.node("Mul", n, thousand), to=onnx.TensorProto.FLOAT), "floats")
    return b.finish()


@pytest.mark.parametrize("make", [MODELS["resizes"], casts], ids=["resizes", "casts"])
def test_64_bit_integers_on_armv7(make: Callable[[], ExportedGraph], compiler: Toolchain, tmp_path: Path) -> None:
    """Executed by qemu, the helpers made by either compiler."""
    graph, target = make(), msgspec.structs.replace(ARMV7, cc=compiler.cc)
    artifact = TvmBackend().compile(optimize_graph(graph, (1,)), target, CompileOptions(), tmp_path / "m.ecls")
    feed = random_feed(graph)
    with open_device("qemu", target) as device, TvmBackend().open_session(artifact, device) as session:
        assert_close(session.run(feed), run_onnxruntime(graph, feed))


CHECK = r"""
#include <stdint.h>
#include <stdio.h>
typedef long long s64; typedef unsigned long long u64;
float __floatdisf(s64); float __floatundisf(u64); double __floatdidf(s64); double __floatundidf(u64);
s64 __fixsfdi(float); u64 __fixunssfdi(float); s64 __fixdfdi(double); u64 __fixunsdfdi(double);
int __divsi3(int, int); int __modsi3(int, int); unsigned __udivsi3(unsigned, unsigned);
unsigned __umodsi3(unsigned, unsigned); s64 __divdi3(s64, s64); s64 __moddi3(s64, s64); u64 __udivdi3(u64, u64);
u64 __umoddi3(u64, u64); s64 __muldi3(s64, s64); s64 __ashldi3(s64, int); s64 __ashrdi3(s64, int);
u64 __lshrdi3(u64, int);
int main(void) {
  printf("%a %a %a %a\n", __floatdisf(-123456789012345), __floatundisf(~0ull), __floatdidf(-9007199254740993),
         __floatundidf(1ull << 63));
  printf("%lld %llu %lld %llu\n", __fixsfdi(-0x1.8p40f), __fixunssfdi(0x1.8p63f), __fixdfdi(-1e15 - 0.75),
         __fixunsdfdi(0x1.8p63));
  printf("%d %d %u %u\n", __divsi3(-100, 7), __modsi3(-100, 7), __udivsi3(~0u, 10), __umodsi3(~0u, 10));
  printf("%lld %lld %llu %llu %lld\n", __divdi3(-1000000000000, 7), __moddi3(-1000000000000, 7),
         __udivdi3(~0ull, 10), __umoddi3(~0ull, 10), __muldi3(-3000000000, 3));
  printf("%lld %lld %llu\n", __ashldi3(-5, 40), __ashrdi3(-5ll << 40, 33), __lshrdi3(~0ull, 60));
  return 0;
}
"""
SAID = f"""\
-0x1.c12218p+46 0x1p+64 -0x1p+53 0x1p+63
{-3 << 39} {3 << 62} -1000000000000000 {3 << 62}
-14 -2 429496729 5
{-(10**12 // 7)} {-(10**12 % 7)} {(2**64 - 1) // 10} {(2**64 - 1) % 10} -9000000000
{-5 << 40} {(-5 << 40) >> 33} 15
"""


def test_every_helper_does_what_its_name_says(compiler: Toolchain, tmp_path: Path) -> None:
    helpers = link_module._helpers(compiler, tmp_path)
    (tmp_path / "check.c").write_text(CHECK)
    # kept from the optimiser: a call whose value it knows would not be made
    compiler.run(["-O0", "-fno-builtin", "check.c", *helpers, "-o", "check"], cwd=tmp_path)
    done = subprocess.run(["qemu-arm", "-L", SYSROOT, tmp_path / "check"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, SAID)


def test_no_helper_calls_a_helper(compiler: Toolchain, tmp_path: Path) -> None:
    """A shim that its compiler turned into a call of itself would never return."""
    objects, *wraps = link_module._helpers(compiler, tmp_path)
    text = subprocess.run(["arm-linux-gnueabihf-objdump", "-dr", tmp_path / objects], capture_output=True, text=True,
                          check=True).stdout
    defined = {n.removeprefix("__wrap_") for n in re.findall(r"^[0-9a-f]+ <(\w+)>:", text, re.MULTILINE)}
    called = set(re.findall(r"R_ARM_\w+\s+(\w+)", text))
    assert called and all(name.startswith("__aeabi_") for name in called)
    assert {f"-Wl,--wrap={name}" for name in defined} == set(wraps)
    assert all(f" {name}(" in CHECK for name in defined), "each is executed above"


def test_static_models_carry_the_helpers(compiler: Toolchain, tmp_path: Path) -> None:
    """model.o asks for none of the names that the final program would bind to the compiler's own."""
    (tmp_path / "model.c").write_text("int glue;\n")
    (tmp_path / "kernel.c").write_text("float __floatdisf(long long); float k(long long x) { return __floatdisf(x); }")
    compiler.run(["-O1", "-c", "kernel.c", "-o", "kernels.o"], cwd=tmp_path)
    parts = SimpleNamespace(kernels=SimpleNamespace(path=tmp_path / "kernels.o"))
    (tmp_path / "linked.o").write_bytes(link_module.link_static(parts, compiler, tmp_path))
    undefined = subprocess.run(["arm-linux-gnueabihf-nm", "-u", tmp_path / "linked.o"], capture_output=True, text=True,
                               check=True).stdout.split()
    assert [n for n in undefined if n != "U" and not n.startswith("__aeabi_")] == []


def test_what_is_defined_nowhere_is_an_error_at_compile_time(compiler: Toolchain, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "emit_model", lambda parts: "int nowhere(int); int k(void);\n"
                        "int k(void) { return nowhere(1); }\n"
                        "__attribute__((visibility(\"default\"))) int (*const ec_model_x)(void) = k;\n")
    compiler.run(["-c", "-x", "c", "/dev/null", "-o", "kernels.o"], cwd=tmp_path)
    parts = SimpleNamespace(symbol="ec_model_x", kernels=SimpleNamespace(path=tmp_path / "kernels.o"))
    with pytest.raises(ToolchainError, match="nowhere"):
        link_module.link_shared(parts, compiler, ARMV7, tmp_path)
