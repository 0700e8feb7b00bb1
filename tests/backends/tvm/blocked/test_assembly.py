"""The machine code of kernels: innermost loops of products keep their sums in registers, and the best are mostly FMAs.

Shapes are those of ResNet-18 and MobileNets; Cortex-A72, and x86 at the end. What is read is LLVM's assembly text.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.expression import TILE, Apply, Expression, Number, Operand
from edgecls.backends.tvm.blocked.families import (
    attention,
    convolution,
    depthwise,
    elementwise,
    matmul,
    norm,
    winograd,
    winograd_weights,
)
from edgecls.backends.tvm.blocked.families.attention_kernels import Place, Shape, emit, emit_keys
from edgecls.backends.tvm.blocked.families.matmul_tiles import Matrices
from edgecls.backends.tvm.blocked.multiply import assembly_of
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.backends.tvm.blocked.window import Window
from edgecls.backends.tvm.environment import import_tvm, tvm_target
from edgecls.backends.tvm.kernels import lower_straight_line
from edgecls.targets import load_target
from edgecls.types import Target

_LABEL = re.compile(r"^(\.L(?:BB|tmp)\w+):")
_BRANCH = re.compile(r"^\tb(?:\.\w+)?\t(\.L\w+)|^\tcbn?z\t\w+, (\.L\w+)|^\tj\w+\t(\.L\w+)")
_SPILL = re.compile(r"\t(?:ldr|str|ldp|stp)\tq.*\[sp|\tv.*\(%rsp\)")


@pytest.fixture(scope="module")
def board() -> Target:
    return load_target("raspberry-pi-4")


def assembly(function: Any, target: Target) -> str:
    tvm = import_tvm()
    from tvm.tirx.build import codegen_build

    llvm = tvm_target(target)
    module = tvm.IRModule({tvm.ir.GlobalVar("kernel"): function.with_attr("global_symbol", "kernel")})
    return str(codegen_build(lower_straight_line(module, llvm), llvm).inspect_source("asm"))


def innermost_loops(text: str) -> list[list[str]]:
    """Instructions of each loop that holds no other."""
    lines, spans = text.splitlines(), loops_of(text)
    inner = [s for s in spans if not any(s != o and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return [[x for x in lines[a:b + 1] if x.startswith("\t") and not x.startswith("\t.")] for a, b in inner]


def loops_of(text: str) -> list[tuple[int, int]]:
    """First and last line of each."""
    lines = text.splitlines()
    places = {m.group(1): i for i, line in enumerate(lines) if (m := _LABEL.match(line))}
    spans = []
    for i, line in enumerate(lines):
        match = _BRANCH.match(line)
        label = match and next(filter(None, match.groups()))
        if label and places.get(label, i) < i:
            spans.append((places[label], i))
    return spans


def spills(text: str) -> list[str]:
    """In loops, of which the outermost goes through the tasks of a thread."""
    lines = text.splitlines()
    assert loops_of(text)
    return [lines[i] for i in sorted({i for first, last in loops_of(text) for i in range(first, last + 1)})
            if _SPILL.search(lines[i])]


def simd() -> Simd:
    return Simd(4, by_element=True, assembly="neon")


def kernel(window: Window, target: Target, algorithm: str, expression: Expression = TILE) -> Any:
    epilogue = Epilogue.of(expression, -(-window.co // 4), sums=True)
    if algorithm == "depthwise":
        return depthwise.emit(simd(), window, depthwise.decide(window, target.cpu), epilogue)
    if algorithm == "direct":
        planar = window.ci < 4
        return convolution.emit(simd(), window, convolution.decide(window, target.cpu, planar), epilogue, planar)
    m = int(algorithm[1])
    if algorithm.endswith("-device"):
        return winograd_weights.emit(simd(), window, winograd_weights.decide(window, target.cpu, m), epilogue, m)
    return winograd.emit(simd(), window, winograd.decide(window, target.cpu, m), epilogue, m, target.cpu.cores)


def square(ci: int, co: int, size: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> Window:
    return Window(n=1, ci=ci, co=co, h=size, w=size, kernel=(kernel, kernel), stride=(stride, stride),
                  pad=(kernel // 2,) * 4, groups=groups)


PATCHES = Window(n=1, ci=3, co=192, h=224, w=224, kernel=(16, 16), stride=(16, 16), pad=(0, 0, 0, 0), groups=1)
_BIASED = Apply("add", (TILE, Operand(0, "channel")))
EPILOGUES: dict[str, Expression] = {
    "relu6": Apply("clip", (_BIASED,), (0.0, 6.0)),
    "residual": Apply("relu", (Apply("add", (_BIASED, Operand(1, "full"))),)),
    "hard-swish": Apply("multiply", (_BIASED, Apply("clip", (Apply("multiply_add", (
        _BIASED, Number(1 / 6), Number(0.5))),), (0.0, 1.0)))),
}


@pytest.mark.parametrize(("window", "algorithm", "share"), [
    (square(3, 64, 224, kernel=7, stride=2), "direct", 0.92),
    (square(64, 64, 56), "direct", 0.94),
    (square(64, 128, 56, stride=2), "direct", 0.92),
    (square(512, 512, 7), "direct", 0.94),
    (square(576, 96, 14, kernel=1), "direct", 0.93),
    (square(64, 64, 56), "f6", 0.92),
    (square(128, 128, 28), "f4", 0.92),
    (square(256, 256, 14), "f2", 0.92),
    (square(512, 512, 7), "f4-device", 0.88),
    (square(96, 96, 56, groups=96), "depthwise", 0.50),
    (square(240, 240, 14, kernel=5, groups=240), "depthwise", 0.50),
], ids=lambda value: value if isinstance(value, str) else "")
def test_product_loops_are_fmas_and_never_spill(window: Window, algorithm: str, share: float, board: Target) -> None:
    text = assembly(kernel(window, board, algorithm), board)
    product = r"\tfmla\t.*" if algorithm == "depthwise" else r"\tfmla\t.*\.s\[\d\]"
    loops = [loop for loop in innermost_loops(text) if sum(bool(re.match(product, x)) for x in loop) >= 16]
    assert loops
    for loop in loops:
        assert not [x for x in loop if _SPILL.search(x)], "\n".join(loop)
    assert max(sum("\tfmla" in x for x in loop) / len(loop) for loop in loops) >= share


@pytest.mark.parametrize("outputs", [16, 32, 24])
def test_every_loop_of_a_first_layer_is_mostly_fmas(outputs: int, board: Target) -> None:
    """MobileNets'. Its pixels are single floats, and turns at the left border have fewer."""
    text = assembly(kernel(square(3, outputs, 224, stride=2), board, "direct"), board)
    shares = [sum("\tfmla" in x for x in loop) / len(loop) for loop in innermost_loops(text)
              if sum("\tfmla" in x for x in loop) >= 16]
    assert shares and min(shares) >= 0.88


@pytest.mark.parametrize(("window", "algorithm", "epilogue"), [
    *((square(ci, co, size, kernel=1), "direct", epilogue)
      for ci, co, size in ((16, 96, 112), (24, 96, 28), (96, 40, 14)) for epilogue in EPILOGUES),
    *((square(96, 96, 56, groups=96), "depthwise", epilogue) for epilogue in EPILOGUES),
    *((square(256, 256, 14), algorithm, epilogue) for epilogue in EPILOGUES
      for algorithm in ("f4", "f6", "f2-device", "f4-device")),
    # behind F(2) a hard-swish has one constant on the stack; no network of ours has that
    *((square(256, 256, 14), "f2", epilogue) for epilogue in ("relu6", "residual")),
    *((square(size[0], size[0], size[1]), algorithm, epilogue) for size in ((96, 14), (48, 28), (40, 20))
      for algorithm in ("f2-device", "f4-device", "f6-device") for epilogue in ("relu6", "residual")),
    *((square(64, 64, 56), algorithm, epilogue) for epilogue in EPILOGUES for algorithm in ("f4", "f6", "f6-device")),
    *((square(512, 512, 7), algorithm, "residual") for algorithm in ("f4", "f4-device")),
    *((square(512, 512, 7), "direct", epilogue) for epilogue in EPILOGUES),
    *((square(3, 64, 224, kernel=7, stride=2), "direct", epilogue) for epilogue in EPILOGUES),
    *((square(3, 32, 224, stride=2), "direct", epilogue) for epilogue in EPILOGUES),
    *((square(ci, co, size, kernel=1, stride=2), "direct", epilogue)
      for ci, co, size in ((64, 128, 56), (512, 1024, 28)) for epilogue in EPILOGUES),
    # with others one sum waits in memory; no network of ours has that
    *((square(128, 256, 28, stride=2), "direct", epilogue) for epilogue in ("relu6", "residual")),
    (PATCHES, "direct", "relu6"),
], ids=lambda value: value if isinstance(value, str) else f"{value.ci}-{value.co}-{value.kernel[0]}x{value.stride[0]}")
def test_no_kernel_of_convolutional_networks_spills(window: Window, algorithm: str, epilogue: str,
                                                    board: Target) -> None:
    text = assembly(kernel(window, board, algorithm, EPILOGUES[epilogue]), board)
    assert max(last - first for first, last in loops_of(text)) > 100
    assert not spills(text)


_SILU = Apply("multiply", (_BIASED, Apply("sigmoid", (_BIASED,))))
_GELU = Apply("gelu", (_BIASED,))


def tokens(ci: int, co: int, count: int) -> Window:
    return Window(n=1, ci=ci, co=co, h=1, w=count, kernel=(1, 1), stride=(1, 1), pad=(0,) * 4, groups=1)


@pytest.mark.parametrize(("window", "expression"), [
    (tokens(192, 768, 197), _GELU), (tokens(384, 1536, 197), _GELU), (tokens(384, 1536, 1), _GELU),
    (square(96, 384, 56, kernel=1), _GELU), (square(768, 3072, 7, kernel=1), _GELU),
    (square(3, 64, 224, stride=2), _SILU), (square(64, 256, 112, kernel=1), _SILU),
], ids=lambda value: f"{value.ci}-{value.co}-{value.w}" if isinstance(value, Window) else value.function)
def test_no_activation_of_attention_networks_spills(window: Window, expression: Expression, board: Target) -> None:
    assert not spills(assembly(kernel(window, board, "direct", expression), board))


@pytest.mark.parametrize("expression", [_GELU, _SILU], ids=["gelu", "silu"])
def test_no_elementwise_kernel_of_attention_networks_spills(expression: Expression, board: Target) -> None:
    epilogue = Epilogue.of(expression, 96, sums=False)
    assert not spills(assembly(elementwise.emit(simd(), 1, 384, 784, epilogue), board))


@pytest.mark.parametrize("count", [1, 49])
def test_no_norm_spills(count: int, board: Target) -> None:
    epilogue = Epilogue.of(TILE, 48, sums=False)
    assert not spills(assembly(norm.emit(simd(), 1, 192, count, 1e-6, epilogue), board))


def heads(rows: int, columns: int, size: int, heads: int, groups: int = 1, gated: bool = False,
          lanes: int = 4) -> tuple[Shape, Place]:
    """What queries, keys and values share: all channels lie in one image, windows where a table says."""
    shape = Shape(images=1, groups=groups, heads=heads, rows=rows, columns=columns, size=size, depth=size,
                  biases=() if gated else ((groups, 1), (1, heads))[2 - min(groups, 2):], gated=gated, normalised=gated)
    return shape, Place(0, size // lanes, heads * size // lanes, groups * columns, columns, groups == 1)


@pytest.mark.parametrize(("shape", "place"), [
    heads(197, 197, 64, 3), heads(1, 197, 64, 3), heads(49, 49, 32, 6, groups=16), heads(49, 49, 32, 24),
    heads(196, 196, 48, 4, gated=True), heads(196, 196, 32, 12),
], ids=["vit", "class-token", "swin", "swin-last", "convit", "coatnet"])
def test_attention_is_mostly_fmas_never_spills_and_calls_nothing(shape: Shape, place: Place, board: Target) -> None:
    """Exponentials are written out."""
    tiles = attention.decide(shape.rows, shape.columns, shape.size, shape.depth, board.cpu, place.in_order)
    rows = replace(place, pixels=shape.groups * shape.rows, tokens=shape.rows)
    text = assembly(emit(simd(), shape, tiles, rows, place, rows), board)
    product = re.compile(r"\tfmla\t.*\.s\[\d\]")
    loops = [loop for loop in innermost_loops(text) if sum(bool(product.match(x)) for x in loop) >= 32]
    assert len(loops) >= 2
    # one query alone has a load for each product
    assert shape.rows == 1 or min(sum("\tfmla" in x for x in loop) / len(loop) for loop in loops) >= 0.85
    assert not spills(text)
    assert all(re.match("TVMFFIError|__tvm|kernel", m.group(1)) for m in re.finditer(r"\tbl\t(\S+)", text))


@pytest.mark.parametrize(("shape", "place"), [heads(197, 197, 64, 3), heads(49, 49, 32, 6, groups=16)],
                         ids=["vit", "swin"])
def test_keys_are_transposed_in_registers(shape: Shape, place: Place, board: Target) -> None:
    assert not spills(assembly(emit_keys(simd(), shape, place, 0.125), board))


@pytest.mark.parametrize(("first", "second"), [
    ((3, 197, 64), (3, 64, 197)), ((3, 197, 197), (3, 197, 64)), ((3, 64, 197), (197, 64))])
def test_products_of_tensors_are_mostly_fmas_and_never_spill(first: tuple[int, ...], second: tuple[int, ...],
                                                             board: Target) -> None:
    matrices = Matrices.of(first, second)
    text = assembly(matmul.emit(simd(), matrices, matmul.decide(matrices, board.cpu)), board)
    shares = [sum("\tfmla" in x for x in loop) / len(loop) for loop in innermost_loops(text)
              if sum(bool(re.match(r"\tfmla\t.*\.s\[\d\]", x)) for x in loop) >= 32]
    assert shares and min(shares) >= 0.85
    assert not spills(text) + spills(assembly(matmul.emit_packed(simd(), matrices), board))


def test_no_kernel_calls_anything_but_the_runtime(board: Target) -> None:
    text = assembly(kernel(square(64, 64, 14), board, "f4"), board)
    calls = {m.group(1) for m in re.finditer(r"\tbl\t(\S+)", text)}
    assert not {c for c in calls if not c.startswith((".L", "__tvm", "TVMFFI", "memset", "memcpy", "main", "kernel"))}


@pytest.mark.parametrize("target", ["x86-64-avx512", "x86-64-avx2"])
@pytest.mark.parametrize(("window", "epilogue"), [
    *((square(ci, co, size, kernel=1, stride=stride), epilogue) for epilogue in ("relu6", "residual")
      for ci, co, size, stride in ((1024, 256, 14, 1), (512, 2048, 7, 1), (512, 1024, 28, 2), (116, 58, 13, 1))),
    *((square(ci, co, size, stride=stride), epilogue) for epilogue in ("relu6", "residual")
      for ci, co, size, stride in ((64, 64, 56, 1), (512, 512, 7, 1), (128, 256, 28, 2), (3, 24, 224, 2))),
    (square(3, 64, 224, kernel=7, stride=2), "relu6"),
], ids=lambda value: value if isinstance(value, str) else f"{value.ci}-{value.co}-{value.kernel[0]}x{value.stride[0]}")
def test_no_tile_of_x86_spills(window: Window, epilogue: str, target: str) -> None:
    """With a sum on the stack a layer took three times as long in some processes as in others."""
    found = load_target(target)
    lanes = found.cpu.vector_bits // 32
    planar = window.ci < lanes
    emitted = convolution.emit(Simd(lanes, assembly=assembly_of(found.cpu)), window,
                               convolution.decide(window, found.cpu, planar),
                               Epilogue.of(EPILOGUES[epilogue], -(-window.co // lanes), sums=True), planar)
    text = assembly(emitted, found)
    assert text.count("vfmadd231ps") > 100
    assert not spills(text)


@pytest.mark.parametrize("target", ["x86-64-avx512", "x86-64-avx2"])
def test_no_product_of_tensors_spills_on_x86(target: str) -> None:
    found = load_target(target)
    for matrices in (Matrices.of((3, 197, 64), (3, 64, 197)), Matrices.of((64, 4096), (4096, 400))):
        simd = Simd(found.cpu.vector_bits // 32, assembly=assembly_of(found.cpu))
        assert not spills(assembly(matmul.emit(simd, matrices, matmul.decide(matrices, found.cpu)), found))


@pytest.mark.parametrize(("rows", "size", "count"), [(197, 64, 3), (1, 64, 3), (196, 32, 12)],
                         ids=["vit", "class-token", "coatnet"])
def test_no_attention_over_an_image_spills_with_32_registers(rows: int, size: int, count: int) -> None:
    """Over windows, whose scores wait in registers, and with 16 registers some of the softmax is set aside."""
    found = load_target("x86-64-avx512")
    simd = Simd(16, assembly=assembly_of(found.cpu))
    shape, place = heads(rows, max(rows, 196), size, count, lanes=16)
    tiles = attention.decide(shape.rows, shape.columns, shape.size, shape.depth, found.cpu, place.in_order)
    own = replace(place, pixels=shape.rows, tokens=shape.rows)
    text = assembly(emit(simd, shape, tiles, own, place, own), found)
    assert text.count("vfmadd231ps") > 32
    assert not spills(text)
