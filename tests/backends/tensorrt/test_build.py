"""Real builds by TensorRT-RTX, which needs no GPU: what is accepted, what is refused, and in whose words."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from edgecls.backends.tensorrt.assemble import engine_layers
from edgecls.backends.tensorrt.build import Place, build, check, facts, try_plan
from edgecls.backends.tensorrt.network import Network, networks
from edgecls.errors import DeviceError, ToolchainError, UnsupportedError
from edgecls.passes import optimize_graph
from tests.backends.tensorrt.conftest import needs_rtx
from tests.backends.tensorrt.networks import half, residual
from tests.models import MODELS, Builder, unknown_operator

pytestmark = needs_rtx
CAPABILITIES = "7.5", "8.6", "8.9", "12.0"


def network_of(exported, *batches) -> Network:
    (network,) = networks(half(exported, *batches))
    return network


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_capability_of_an_rtx_card_builds(capability):
    steps = []
    built, plan, cache = build(network_of(residual()), "tensorrt_rtx", capability=capability,
                               progress=lambda *step: steps.append(step))
    assert len(plan) == built.plan_bytes > 1000 and cache == b""
    assert built.network_layers > len(engine_layers(network_of(residual()), built)[1]) > 0
    assert built.network_types["half"] > 0 and built.memory["weights"] > 0
    assert steps and all(0 <= done <= total for _, done, total in steps)


def test_two_builds_give_the_same_plan():
    plans = [build(network_of(residual()), "tensorrt_rtx", capability="8.9")[1] for _ in range(2)]
    assert plans[0] == plans[1]


def test_plans_for_rtx_allocate_nothing_while_they_run(monkeypatch):
    """Without that, no CUDA graph can hold what they do (release notes of TensorRT-RTX 1.2)."""
    import tensorrt_rtx as trt

    from edgecls.backends.tensorrt import worker

    flags, real = [], trt.IBuilderConfig.set_flag
    monkeypatch.setattr(trt.IBuilderConfig, "set_flag", lambda config, flag: flags.append(flag) or real(config, flag))
    network = network_of(residual())
    request = {"library": "tensorrt_rtx", "compute_capability": "8.6", "tf32": False, "profiles": network.profiles}
    worker.build(request, {"model": network.onnx, "cache": b""}, lambda *step: None)
    assert flags == [trt.BuilderFlag.REQUIRE_USER_ALLOCATION]


def test_each_batch_size_has_a_profile_of_its_own():
    network = network_of(MODELS["classifier"](), 1, 8, 32)
    built, _, _ = build(network, "tensorrt_rtx", capability="8.6")
    by_batch = engine_layers(network, built)
    assert list(by_batch) == [1, 8, 32]
    for batch, layers in by_batch.items():
        assert layers[0].inputs[0].shape == (batch, 3, 32, 32)
        assert all(t.shape[0] == batch for layer in layers for t in layer.outputs if len(t.shape) == 4)


@pytest.mark.parametrize("capability", ["8.7", "9.0", "5.3"])
def test_what_cannot_be_built_ahead_of_time_is_refused_with_the_way_out(capability):
    with pytest.raises(ToolchainError, match=f"compute capability {capability} cannot be built") as caught:
        build(network_of(residual()), "tensorrt_rtx", capability=capability)
    assert "8.6" in caught.value.message and "edgecls finish" in caught.value.hint


def test_a_refusal_of_the_builder_keeps_its_words():
    (network,) = networks(optimize_graph(MODELS["matrix_products"]()))
    with pytest.raises(ToolchainError, match="FP32 GEMM is not supported") as caught:
        build(network, "tensorrt_rtx", capability="7.5")
    assert "--precision fp16" in caught.value.hint


def test_every_refused_node_is_named_with_its_error_code():
    b = Builder()
    x = b.input("x", ("batch", 3, 3))
    y = b.node("Frobnicate", b.node("Det", x, name="determinant"), domain="odd", name="odd_one")
    b.output(y, "y")
    graph = optimize_graph(b.finish())
    (network,) = networks(graph)
    found = check(network, "tensorrt_rtx")
    assert [(u.node, u.op) for u in found] == [("determinant", "Det"), ("odd_one", "Frobnicate")]
    assert found[0].reason.startswith("UNSUPPORTED_NODE") and found[1].reason.startswith("INVALID_NODE")
    with pytest.raises(UnsupportedError, match="odd_one"):
        build(network, "tensorrt_rtx", capability="8.6")
    assert check(network_of(residual()), "tensorrt_rtx") == []


@pytest.mark.parametrize("junk", [b"", b"not onnx", bytes(range(256)) * 9])
def test_what_is_no_network_is_refused(junk):
    with pytest.raises((UnsupportedError, ToolchainError)):  # no bytes at all are a network without outputs
        build(Network(junk, (1,), (), ()), "tensorrt_rtx", capability="8.6")


def test_unknown_operators_have_a_reason():
    (network,) = networks(optimize_graph(unknown_operator()))
    (found,) = check(network, "tensorrt_rtx")
    assert "Plugin not found" in found.reason


def test_a_killed_builder_is_taken_for_lack_of_memory(monkeypatch):
    """The system's out-of-memory killer sends SIGKILL; so does this test, once the builder is at work."""
    from edgecls.backends.tensorrt import build as module

    started = []
    real = module.subprocess.Popen

    def remember(*args, **more):
        started.append(real(*args, **more))
        return started[-1]

    monkeypatch.setattr(module.subprocess, "Popen", remember)
    with pytest.raises(ToolchainError, match="was killed") as caught:
        build(network_of(residual()), "tensorrt_rtx", capability="8.6",
              progress=lambda *step: os.kill(started[0].pid, signal.SIGKILL))
    assert "memory" in caught.value.hint
    assert started[0].poll() is not None


def test_a_crash_is_an_error_with_the_signal_in_it(monkeypatch, tmp_path):
    from edgecls.backends.tensorrt import build as module

    worker = tmp_path / "fake_worker.py"
    worker.write_text("import os, signal, sys\nprint('about to die', file=sys.stderr, flush=True)\n"
                      "os.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(module, "WORKER", worker)
    with pytest.raises(ToolchainError, match=r"crashed on this machine .SIGSEGV.: about to die"):
        facts(Place())


@pytest.mark.parametrize("answer", ["nonsense", "[1]", '{"result": {"plan_bytes": -1}}', "{",
                                    '{"result": {"plan_bytes": 9}}', '{"progress": 3}'])
def test_a_worker_that_answers_nonsense_is_refused(answer, monkeypatch, tmp_path):
    from edgecls.backends.tensorrt import build as module

    worker = tmp_path / "fake_worker.py"
    worker.write_text(f"import sys\nsys.stdin.buffer.readline()\nprint({answer!r})\n")
    monkeypatch.setattr(module, "WORKER", worker)
    with pytest.raises((DeviceError, ToolchainError)):
        build(network_of(residual()), "tensorrt_rtx", capability="8.6")


def test_an_interrupt_ends_the_builder(monkeypatch):
    from edgecls.backends.tensorrt import build as module

    started = []
    real = module.subprocess.Popen
    monkeypatch.setattr(module.subprocess, "Popen", lambda *a, **k: started.append(real(*a, **k)) or started[-1])

    def interrupt(*step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(network_of(residual()), "tensorrt_rtx", capability="8.6", progress=interrupt)
    assert started[0].poll() is not None


def test_the_worker_runs_on_the_oldest_python_of_a_device():
    """JetPack 5 has Python 3.8; of edgecls nothing is there."""
    import ast

    from edgecls.backends.tensorrt.build import WORKER

    tree = ast.parse(WORKER.read_text(), feature_version=(3, 8))
    imported = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)} | {
        a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert imported <= {"__future__", *sys.stdlib_module_names}


def test_the_worker_ends_when_nobody_reads_its_answers_any_more():
    """As it is when edgecls is killed in the middle of a build."""
    import json
    import subprocess

    from edgecls.backends.tensorrt.build import WORKER

    network = network_of(residual())
    request = {"do": "build", "library": "tensorrt_rtx", "compute_capability": "8.6", "profiles": [], "tf32": False,
               "model_bytes": len(network.onnx), "cache_bytes": 0}
    with subprocess.Popen([sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdin.write(json.dumps(request).encode() + b"\n" + network.onnx[:100])  # it still waits for the rest
        worker.stdin.flush()
        worker.stdout.close()
        assert worker.wait(60) == 2
        worker.stdin.close()


def test_a_device_that_falls_silent_is_one_error(monkeypatch, tmp_path):
    from edgecls.backends.tensorrt import build as module
    from tests.backends.tensorrt.test_finish import Board

    worker = tmp_path / "fake_worker.py"
    worker.write_text("import time\nprint('{\"progress\": [\"tuning\", 0, 1]}', flush=True)\ntime.sleep(600)\n")
    monkeypatch.setattr(module, "WORKER", worker)
    with Board() as board:
        board.patience_s = 0.5
        with pytest.raises(DeviceError, match=r"silent for 0\.5 seconds"):
            facts(Place(board))


def test_without_a_gpu_a_plan_is_not_even_tried():
    if not facts(Place()).gpu.missing:
        pytest.skip("this machine has a GPU: pytest -m gpu tests the rest")
    _, plan, _ = build(network_of(residual()), "tensorrt_rtx", capability="8.6")
    with pytest.raises(DeviceError, match="no GPU"):
        try_plan(plan, "tensorrt_rtx")
    with pytest.raises(DeviceError, match="no GPU"):
        build(network_of(residual()), "tensorrt_rtx", capability=None)
