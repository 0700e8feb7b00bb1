"""What a compiled model asks of a device, and what it shows to it."""

from __future__ import annotations

import contextlib
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from edgecls.backends.tvm import TvmBackend
from edgecls.bundle import read_member
from edgecls.devices import open_device
from edgecls.runtime.build import StaticModel, build_runner
from edgecls.toolchain import find_toolchain
from tests.backends.tvm.conftest import Compile, compile_to
from tests.models import MODELS, assert_close, random_feed, run_onnxruntime

BOARDS = ("raspberry-pi-4", "armv7", "native")
LIBRARIES = {"libc.so.6", "libm.so.6"}


@pytest.mark.parametrize("target", BOARDS)
def test_model_so_needs_libc_and_shows_one_symbol(target: str, compile_tvm: Compile) -> None:
    artifact = compile_tvm("classifier", target)
    elf = ELFFile(io.BytesIO(read_member(artifact, "model.so")))
    needed = {t.needed for t in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
    assert needed <= LIBRARIES
    symbols = list(elf.get_section_by_name(".dynsym").iter_symbols())
    assert [s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF"] == [artifact.manifest.symbol]
    imported = {s.name for s in symbols if s["st_shndx"] == "SHN_UNDEF"}
    assert not [n for n in imported if "TVM" in n or "tvm" in n or n in ("malloc", "calloc", "dlopen", "system")]
    stack = [s for s in elf.iter_segments() if s["p_type"] == "PT_GNU_STACK"]
    assert [s["p_flags"] & 1 for s in stack] == [0], "an executable stack"


@pytest.mark.parametrize("target", BOARDS)
def test_compiling_twice_gives_the_same_bytes(target: str, compile_tvm: Compile, tmp_path: Path) -> None:
    first = compile_tvm("classifier", target)
    again = compile_to(tmp_path / "again.ecls", "classifier", target)
    assert first.path.read_bytes() == again.path.read_bytes()


@pytest.mark.parametrize("target", BOARDS)
def test_boards_answer_as_onnxruntime_with_any_number_of_threads(target: str, compile_tvm: Compile) -> None:
    graph, artifact = MODELS["classifier"](), compile_tvm("classifier", target)
    feeds = [random_feed(graph, batch) for batch in (1, 3)]
    answers = []
    with open_device(None, artifact.manifest.target) as device:
        for threads in (1, 2, 4):
            with TvmBackend().open_session(artifact, device, threads) as session:
                answers.append([session.run(feed) for feed in feeds])
    for feed, answer in zip(feeds, answers[0], strict=True):
        assert_close(answer, run_onnxruntime(graph, feed))
    for one, other in itertools.pairwise(answers):
        for a, b in zip(one, other, strict=True):
            assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("target", BOARDS)
def test_two_models_link_into_one_static_program(target: str, compile_tvm: Compile, tmp_path: Path) -> None:
    models = []
    for name in ("classifier", "attention"):
        artifact = compile_tvm(name, target, static=True)
        files = {m: tmp_path / f"{name}.{m}" for m in ("model.o", "weights.bin")}
        for member, path in files.items():
            path.write_bytes(read_member(artifact, member))
        models.append(StaticModel(symbol=artifact.manifest.symbol, name=name, archive=files["model.o"],
                                  weights=files["weights.bin"]))
    arch = artifact.manifest.target.cpu.arch
    program = build_runner(arch, find_toolchain(arch, static=True), static_models=models)
    with open_device(None, artifact.manifest.target) as device:
        folder = device.push({"ec_run": program})
        for model in models:
            # the self-test compares with ONNX Runtime's answer, which the model carries
            with contextlib.closing(device.start([f"{folder}/ec_run", f"@{model.build_id}", "--selftest"])) as process:
                assert process.wait(60) == 0, process.errors()


def test_layers_name_every_node_of_the_network(compile_tvm: Compile) -> None:
    artifact = compile_tvm("classifier", "raspberry-pi-4")
    layers = artifact.manifest.layers
    assert [row.index for row in layers] == list(range(len(layers)))
    assert {row.batch for row in layers} == {1, 3}
    assert all(row.onnx_nodes for row in layers)
    convolutions = [row for row in layers if "Conv" in row.op]
    assert convolutions
    assert all(row.flops > 0 and row.weight_bytes > 0 and row.reason for row in convolutions)
    assert "direct" in {row.algorithm for row in convolutions}


def test_weights_are_shared_by_the_batch_sizes(compile_tvm: Compile) -> None:
    """Batches 1 and 3 of one network: far less than twice the initializers."""
    import onnx

    artifact = compile_tvm("classifier", "raspberry-pi-4")
    graph = onnx.load_from_string(MODELS["classifier"]().onnx).graph
    initializers = sum(len(onnx.numpy_helper.to_array(t).tobytes()) for t in graph.initializer)
    padding = 64 * 2 * (len(graph.initializer) + len(artifact.manifest.layers))
    assert artifact.manifest.weights_bytes < initializers + padding
