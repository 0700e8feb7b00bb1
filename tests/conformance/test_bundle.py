"""Every backend writes a whole, true and repeatable bundle, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecls.backends.registry import BACKENDS, backend_for, get_backend
from edgecls.bundle import open_bundle, read_member
from edgecls.errors import BundleError, EdgeclsError, OutputError
from edgecls.frozen import Frozen
from edgecls.interfaces import Device
from edgecls.passes import optimize_graph
from edgecls.types import Target
from tests.conformance.conftest import Compile, compile_to, suited
from tests.conformance.support import on_every_backend
from tests.models import MODELS, random_feed, unknown_operator


@on_every_backend()
def test_backend_describes_itself(backend: str) -> None:
    chosen = get_backend(backend)
    assert chosen.name == backend
    assert issubclass(chosen.options_type, Frozen)
    chosen.options_type()  # every option has a default


@on_every_backend()
def test_two_compiles_give_equal_bytes(backend: str, compile_model: Compile, target: Target, tmp_path: Path) -> None:
    again = compile_to(backend, MODELS["classifier"](), target, tmp_path / "again.ecls", (1, 3))
    first = compile_model(backend, "classifier", (1, 3))
    assert again.path.read_bytes() == first.path.read_bytes()
    assert again.hash == first.hash


@on_every_backend()
def test_manifest_tells_where_it_comes_from(backend: str, compile_model: Compile, target: Target) -> None:
    graph = MODELS["classifier"]()
    optimised = optimize_graph(graph, (1, 3))
    artifact = compile_model(backend, "classifier", (1, 3))
    manifest = artifact.manifest
    assert manifest.backend == backend and backend_for(artifact).name == backend
    assert (manifest.exported, manifest.parent) == (graph.hash, optimised.hash)
    assert manifest.passes == optimised.passes and manifest.contract == graph.contract
    assert manifest.target == suited(backend, target)
    assert manifest.batches == (1, 3) == tuple(plan.batch for plan in manifest.plans)
    assert [layer.index for layer in manifest.layers] == list(range(len(manifest.layers)))
    for plan in manifest.plans:
        assert plan.calls == sum(layer.batch == plan.batch for layer in manifest.layers)
    for name, member in manifest.members.items():
        assert len(read_member(artifact, name)) == member.bytes


@on_every_backend(null="it has no layers")
def test_layers_name_every_node_of_the_graph(backend: str, compile_model: Compile) -> None:
    import onnx

    nodes = {n.name for n in onnx.load_from_string(optimize_graph(MODELS["attention"]()).onnx[1]).graph.node}
    named = {node for layer in compile_model(backend, "attention").manifest.layers for node in layer.onnx_nodes}
    assert named <= nodes
    assert {n for n in nodes if "MatMul" in n} <= named


@on_every_backend()
def test_any_damage_is_noticed(backend: str, compile_model: Compile, tmp_path: Path) -> None:
    data = compile_model(backend, "two_inputs").path.read_bytes()
    damaged = tmp_path / "damaged.ecls"
    for position in range(0, len(data), max(1, len(data) // 25)):
        damaged.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1:])
        with pytest.raises(BundleError):
            open_bundle(damaged)
    damaged.write_bytes(data[:-1])
    with pytest.raises(BundleError):
        open_bundle(damaged)


@on_every_backend(null="its bundle has no member that could differ")
def test_a_bundle_replaced_after_opening_is_noticed(backend: str, compile_model: Compile, device: Device,
                                                    tmp_path: Path, target: Target) -> None:
    artifact = compile_to(backend, MODELS["two_inputs"](), target, tmp_path / "a.ecls", device=device)
    artifact.path.write_bytes(compile_model(backend, "attention").path.read_bytes())
    with pytest.raises(EdgeclsError), backend_for(artifact).open_session(artifact, device) as session:
        session.run(random_feed(MODELS["two_inputs"]()))


@on_every_backend(null="it does nothing with any operator equally well")
def test_unknown_operators_are_named_and_nothing_is_written(backend: str, target: Target, tmp_path: Path) -> None:
    graph = optimize_graph(unknown_operator())
    chosen = get_backend(backend)
    (unsupported,) = chosen.check(graph, suited(backend, target))
    assert unsupported.node == "odd_one" and "Frobnicate" in unsupported.op and unsupported.reason
    with pytest.raises(EdgeclsError) as caught:
        chosen.compile(graph, suited(backend, target), chosen.options_type(), tmp_path / "never.ecls")
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@on_every_backend()
def test_check_accepts_what_compiles(backend: str, target: Target) -> None:
    assert get_backend(backend).check(optimize_graph(MODELS["attention"]()), suited(backend, target)) == []


@on_every_backend()
def test_a_missing_folder_is_an_output_error(backend: str, target: Target, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        compile_to(backend, MODELS["two_inputs"](), target, tmp_path / "no" / "such.ecls")


def test_unknown_backends_are_refused() -> None:
    with pytest.raises(EdgeclsError) as caught:
        get_backend("tensorflow")
    assert all(name in caught.value.hint for name in BACKENDS)
