"""Which kernel executes what: a small network compiled, executed and taken apart, and the arithmetic on blocks."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.executed import blocks_of_one_run, kernel_starts, subtract
from benchmarks.kernels import count_kernels, table
from benchmarks.peers.llvm_mca import disassemble, hottest, model, model_blocks
from benchmarks.peers.llvm_mca import table as modelled_table
from edgecls.backends.registry import get_backend
from edgecls.bundle import open_bundle
from edgecls.devices import Block
from edgecls.passes import optimize_graph
from edgecls.pipeline import open_session
from edgecls.targets import load_target
from edgecls.types import MeasureSettings
from tests import models

needs_llvm = pytest.mark.skipif(not (shutil.which("llvm-mca") and shutil.which("llvm-mc")), reason="LLVM's tools")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "model.ecls"
    backend = get_backend("tvm")
    graph = optimize_graph(models.convolutions())
    return backend.compile(graph, load_target("raspberry-pi-4"), backend.options_type(), path)


def test_kernels_make_up_the_inference(artifact):
    kernels = count_kernels(artifact)
    names = {layer.kernel for layer in artifact.manifest.layers}
    assert names == {k.name for k in kernels if k.calls} == set(kernel_starts(artifact).values())
    with open_session(artifact, "qemu") as session:
        (whole,) = session.measure(MeasureSettings()).values
    assert sum(k.mix.instructions for k in kernels) == pytest.approx(whole, rel=0.01)
    assert all(k.mix.instructions > k.calls and k.mix.loads for k in kernels)
    text = table(kernels, [kernels[0].name], 1)
    assert kernels[0].name in text and kernels[1].name not in text and "whole inference" in text


@needs_llvm
def test_hot_blocks_are_modelled(artifact):
    found = hottest(blocks_of_one_run(artifact), [], 3)
    blocks = model_blocks(open_bundle(artifact.path), found, "cortex-a72")
    assert len(blocks) == 3 and all(b.cycles > 0 and b.mix.instructions == len(b.block.code) for b in blocks)
    assert blocks[0].kernel in modelled_table(blocks, 1_000_000)


@needs_llvm
def test_model_of_a_dependent_chain():
    code = bytes.fromhex("2010824f")  # fmla v0.4s, v1.4s, v2.s[0]
    text = disassemble(code)
    assert text.split() == ["fmla", "v0.4s,", "v1.4s,", "v2.s[0]"]
    cycles = model(f"# LLVM-MCA-BEGIN one\n{text}\n# LLVM-MCA-END one\n", "cortex-a72")
    assert 3 <= cycles["one"] <= 10


def test_subtract_joins_blocks_of_one_place():
    block = Block("f", 4, ("nop",), 0, 1)
    more = [block._replace(executed=5), block._replace(executed=2), block._replace(part=2, executed=3)]
    assert subtract(more, [block._replace(executed=1)], 2) == [
        block._replace(executed=3), block._replace(part=2, executed=1)]
    assert subtract([block._replace(executed=3)], [block._replace(executed=2)], 2) == []
