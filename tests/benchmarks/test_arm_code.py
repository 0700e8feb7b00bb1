"""What the code of an ARM bundle consists of: loops found by their branches, and what is asked of whole networks."""

from __future__ import annotations

import pytest

from benchmarks.arm_code import branch_target, calls_out, examine, loops
from benchmarks.executed import LIBRARY
from benchmarks.models import model_file
from edgecls import pipeline
from edgecls.backends.registry import get_backend
from edgecls.bundle import read_member
from edgecls.devices import Block
from edgecls.passes import optimize_graph
from edgecls.targets import load_target
from tests import models

HARMLESS = {"memcpy", "memset"}
TARGET = "raspberry-pi-4"


def code(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


@pytest.mark.parametrize(("word", "words"), [
    (0x14000002, 2),  # b .+8
    (0x54FFFFE1, -1),  # b.ne .-4
    (0xB5FFFFC0, -2),  # cbnz x0, .-8
    (0x34000060, 3),  # cbz w0, .+12
    (0x36180060, 3),  # tbz w0, #3, .+12
    (0x371FFFE0, -1),  # tbnz w0, #3, .-4
    (0x97FFFFFF, None),  # bl .-4
    (0xD65F03C0, None),  # ret
    (0x4F821020, None),  # fmla v0.4s, v1.4s, v2.s[0]
])
def test_branches_are_read_from_their_bits(word, words):
    assert branch_target(code(0, 0, 0, word), 12) == (None if words is None else 12 + 4 * words)


def test_only_loops_that_hold_no_other_are_found():
    nop, fmla, to_inner, to_outer = "nop", "fmla v0.4s, v1.4s, v2.s[0]", "cbnz x0, #0x4", "b.ne #0x0"
    library = code(0xD503201F, 0x4F821020, 0x3D800000, 0xB5FFFFC0, 0x54FFFF81)
    blocks = [Block(f"/x/{LIBRARY}", 0, (nop, fmla, "str q0, [x0]", to_inner), 1),
              Block(f"/x/{LIBRARY}", 4, (fmla, "str q0, [x0]", to_inner), 9),
              Block(f"/x/{LIBRARY}", 16, (to_outer,), 1), Block("/x/libc.so", 4, (fmla, to_inner), 100)]
    (found,) = loops({"k": blocks}, library)
    assert (found.kernel, found.first, found.last, found.products, found.stores) == ("k", 4, 12, 1, 1)
    assert (found.mix.instructions, found.mix.fmas) == (27, 9)


def test_a_bundle_is_taken_apart(tmp_path):
    backend = get_backend("tvm")
    artifact = backend.compile(optimize_graph(models.convolutions()), load_target(TARGET), backend.options_type(),
                               tmp_path / "m.ecls")
    row = examine(artifact)
    assert row["kernels"] == len({layer.kernel for layer in artifact.manifest.layers})
    assert row["reductions"]["loops"] and row["tiles"]["instructions"] < row["instructions"]
    assert 0.5 < row["reductions"]["least"]["share"] <= 1
    assert row["spills"] == 0
    assert set(calls_out(read_member(artifact, LIBRARY))) <= HARMLESS


@pytest.mark.zoo
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v2", "resnet18", "resnet50", "vgg16", "vit_tiny"])
def test_whole_networks_are_mostly_fmas_spill_nothing_and_call_nothing(name, tmp_path):
    artifact = pipeline.compile_model(model_file(name, tmp_path), load_target(TARGET), tmp_path / "m.ecls")
    row = examine(artifact)
    assert row["reductions"]["fmas"] / row["reductions"]["instructions"] >= 0.88
    assert row["spills"] == 0
    assert set(row["calls_out"]) <= HARMLESS
