"""Which convolutions count as dense, and what is made of their times."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.peers import others
from benchmarks.peers.dense import ACTIVATION_INSTRUCTIONS, Shape, Watched, dense_nodes, spent, uses_weights_once, watch
from benchmarks.peers.floors import Rates
from benchmarks.peers.layers import judge
from benchmarks.peers.share import summed
from benchmarks.peers.spent import sections
from edgecls import pipeline
from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.expression import TILE, Apply, Number, Operand
from edgecls.backends.tvm.blocked.families import elementwise
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.targets import load_target
from edgecls.types import Layer
from tests import models
from tests.backends.tvm.blocked.test_assembly import assembly, innermost_loops


def convolution(name: str, *shape: int, group: int = 1) -> tuple[onnx.NodeProto, onnx.TensorProto]:
    """shape: OIHW of the weights."""
    size = 1
    for extent in shape:
        size *= extent
    weights = helper.make_tensor(f"{name}.w", TensorProto.FLOAT, shape, [0.0] * size)
    return helper.make_node("Conv", ["x", f"{name}.w"], [f"{name}.y"], name=name, group=group), weights


def test_only_dense_convolutions_with_enough_channels_count() -> None:
    made = [convolution("point", 64, 32, 1, 1), convolution("three", 32, 32, 3, 3), convolution("narrow", 64, 31, 1, 1),
            convolution("first", 64, 3, 3, 3), convolution("depthwise", 32, 1, 3, 3, group=32),
            convolution("grouped", 64, 32, 3, 3, group=2), convolution("large", 32, 32, 5, 5)]
    other = helper.make_node("Relu", ["point.y"], ["y"], name="relu")
    graph = helper.make_graph([*(node for node, _ in made), other], "g", [], [], [weights for _, weights in made])
    assert dense_nodes(helper.make_model(graph)) == {
        "point": Shape(outputs=64, inputs=32), "three": Shape(outputs=32, inputs=32 * 9)}


def layer(flops: int, weight_bytes: int, index: int = 0, op: str = "Conv",
          nodes: tuple[str, ...] = ()) -> Layer:
    return Layer(index=index, batch=1, kernel=f"k{index}", onnx_nodes=nodes, op=op, algorithm="direct", layout="",
                 precision="fp32", weight_bytes=weight_bytes, activation_bytes=10_000, flops=flops)


def test_rates_are_weighted_by_work() -> None:
    rates = Rates(lanes=4, flops_per_s=1e9, fed_flops_per_s=1e9, read_bytes_per_s=1e9)
    calls = [judge(layer(flops, weight_bytes=200, index=i), [1000.0], rates) for i, flops in enumerate([900, 100])]
    assert summed(calls) == {"kernels": 2, "flops": 1000, "us": 2.0, "floor_us": pytest.approx(1.1)}
    assert summed([])["kernels"] == 0


def test_other_layers_are_judged_by_their_largest_floor() -> None:
    rates = Rates(lanes=16, flops_per_s=100e9, fed_flops_per_s=1e9, read_bytes_per_s=1e9)
    made = [others.other(judge(layer(flops, weight_bytes, index, nodes=nodes), [us * 1e3], rates), {"d"}, rates, 100e9)
            for index, (nodes, flops, weight_bytes, us) in enumerate((
                (("d", "relu"), 1_000_000, 400, 20.0), (("x",), 3_000_000, 1_000, 40.0), (("y",), 2_000, 4_000, 5.0)))]
    assert [o.kind for o in made] == ["depthwise", "first or narrow", "one pixel"]
    assert made[0].floor == made[0].products == pytest.approx(10)
    assert made[2].floor == made[2].memory == pytest.approx(4)
    assert made[0].ports == pytest.approx(1e6 * 10_400 / 100e9)
    text = "\n".join(others.sections([{"network": "net", "others": [msgspec.to_builtins(o) for o in made]}]))
    assert "| net | depthwise | 1 | 20.0 | 10.0 | 0.1 | 0.4 | 50% | 50% |" in text
    assert others.sections([{"network": "net", "others": []}]) == []


def test_one_pixel_uses_each_weight_once() -> None:
    weights = 32 * 48
    padding_and_bias = 4 * 48
    assert uses_weights_once(layer(2 * weights, 4 * weights + padding_and_bias))
    assert not uses_weights_once(layer(2 * 2 * weights, 4 * weights + padding_and_bias))


RATES = Rates(lanes=16, flops_per_s=200e9, fed_flops_per_s=100e9, read_bytes_per_s=1e9)


def test_parts_of_a_kernel_add_up_to_its_time() -> None:
    """40 channels in 48 lanes, a SiLU behind 64 multiply-adds, of 100 pixels."""
    flops = 2 * 64 * 40 * 100
    found = spent(judge(layer(flops, 0, op="Conv+Sigmoid+Mul"), [10_000.0], RATES), Shape(outputs=40, inputs=64), 1.5,
                  RATES, 16)
    assert (found.pixels, found.activation_ops, found.cold) == (100, "Sigmoid+Mul", 1.5)
    assert found.product == pytest.approx(5.12)
    assert found.lanes == pytest.approx(5.12 * 8 / 40)
    assert found.activation == pytest.approx(5.12 * 48 / 40 * ACTIVATION_INSTRUCTIONS["Sigmoid+Mul"] / 64)
    assert found.product + found.lanes + found.activation + found.cold + found.rest == pytest.approx(10.0)
    text = "\n".join(sections([{"network": "net", "spent": [msgspec.to_builtins(found)]}]))
    assert "| 0 | 64 → 40, 100 pixels | Sigmoid+Mul | 51 | 10.0 | 5.1 (51%) | 1.0 (10%) | 1.5 (15%) |" in text
    assert "| net | 10.0 | 5.1 (51%) |" in text
    assert sections([{"network": "net", "spent": []}]) == []


def test_channels_that_fill_half_a_vector_waste_nothing_where_halves_are_computed() -> None:
    call, shape = judge(layer(2 * 64 * 40 * 100, 0, op="Conv"), [10_000.0], RATES), Shape(outputs=40, inputs=64)
    assert spent(call, shape, 0.0, RATES, 8).lanes == pytest.approx(0.0)
    assert spent(call, shape, 0.0, RATES, 16).lanes == pytest.approx(5.12 * 8 / 40)


def test_an_activation_that_nobody_has_counted_is_in_the_rest() -> None:
    found = spent(judge(layer(100, 0, op="Conv+Erf"), [10_000.0], RATES), Shape(outputs=16, inputs=1), 0.0, RATES,
                  16)
    assert (found.activation, found.activation_ops) == (0, "Erf")
    assert found.rest == pytest.approx(10 - 1e-3)


_SIGMOID = Apply("multiply", (Apply("clip", (Apply("add", (TILE, Number(3.0))),), (0.0, 6.0)), Number(1 / 6)))
_EXPRESSIONS = {
    "Add": Apply("add", (TILE, Operand(0, "full"))), "Relu": Apply("relu", (TILE,)), "HardSigmoid": _SIGMOID,
    "Clip": Apply("clip", (TILE,), (0.0, 6.0)), "HardSwish": Apply("multiply", (TILE, _SIGMOID)),
    "Div+Erf+Add+Mul+Mul": Apply("gelu", (TILE,)), "Sigmoid": Apply("sigmoid", (TILE,)),
    "Sigmoid+Mul": Apply("silu", (TILE,)),
    "Add+Relu": Apply("relu", (Apply("add", (TILE, Operand(0, "full"))),))}


@pytest.mark.parametrize("ops", [ops for ops in ACTIVATION_INSTRUCTIONS if ops])
def test_instructions_of_activations_are_those_of_the_assembly(ops: str) -> None:
    target = load_target("x86-64-avx512")
    epilogue = Epilogue.of(_EXPRESSIONS[ops], 24, sums=False)
    text = assembly(elementwise.emit(Simd(16, assembly="avx"), 1, 384, 784, epilogue), target)
    found = []
    for loop in innermost_loops(text):
        stores = sum(bool(re.match(r"\tvmovu?a?ps\t%zmm\d+, .*\(", x)) for x in loop)
        named = [x.split("\t")[1] for x in loop if re.match(r"\tv(?!mov|broadcast)", x)]
        found += [sum(4 if name == "vdivps" else 1 for name in named) / stores] if stores else []
    assert set(found) == {ACTIVATION_INSTRUCTIONS[ops]}


def test_every_call_is_watched_with_the_peak_behind_it(tmp_path: Path) -> None:
    artifact = pipeline.compile_model(_file(tmp_path), load_target("native"), tmp_path / "m.ecls")
    watched = watch(artifact, tmp_path, 3)
    layers = {row.index for row in artifact.manifest.layers}
    assert watched.times_ns.keys() == watched.third_ns.keys() == layers
    assert all(len(x) == 3 for x in (*watched.times_ns.values(), *watched.third_ns.values()))
    assert len(watched.alone) == len(watched.fed) == 3
    assert min(watched.alone + watched.fed) > 1e8


def test_times_are_those_of_one_clock() -> None:
    """Half the clock in the second run."""
    watched = Watched(times_ns={7: [1000, 2000, 1100]}, third_ns={7: [800, 1600, 880]}, alone=[300.0, 150.0, 300.0],
                      fed=[200.0, 100.0, 200.0])
    assert watched.fed_flops_per_s == 200 and watched.flops_per_s == pytest.approx(300)
    assert watched.at_one_clock([1000, 2000, 1100]) == pytest.approx([1000, 1000, 1100])
    assert watched.cold_us(7) == pytest.approx(0.2)


def _file(folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(models.convolutions().onnx)
    return folder / "m.onnx"
