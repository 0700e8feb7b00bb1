"""compile, explain, finish, run and doctor for targets with a GPU, on a machine that has none."""

from __future__ import annotations

import json

import pytest

from edgecls.backends.tensorrt.build import Place, facts
from edgecls.backends.tensorrt.finish import cache_folder, cache_name
from edgecls.backends.tensorrt.recipe import read_recipe
from edgecls.bundle import open_bundle
from tests.backends.tensorrt.conftest import needs_rtx
from tests.passes.precision.networks import save_images

without_gpu = pytest.mark.skipif(not facts(Place()).gpu.missing, reason="this machine has a GPU")


@pytest.fixture(scope="module")
def compiled(road, tmp_path_factory):
    """compiled(target, *flags): the bundle, made once."""
    from edgecls.cli.main import run

    made = {}

    def compile_once(target, *flags):
        key = (target, *flags)
        if key not in made:
            path = tmp_path_factory.mktemp("gpu") / "out.ecls"
            assert run(["compile", str(road.model), "-t", target, "-o", str(path), "--quiet", *flags]) == 0
            made[key] = path
        return made[key]

    return compile_once


@needs_rtx
@pytest.mark.parametrize("target", ["rtx-3060", "rtx-4090", "rtx-5090"])
def test_a_card_of_rtx_gets_its_plan(target, compiled):
    artifact = open_bundle(compiled(target, "--precision", "fp16"))
    recipe = read_recipe(artifact)
    assert artifact.manifest.runtime == "tensorrt-rtx" and artifact.manifest.finished
    assert set(artifact.manifest.members) == {"plan_0.bin", "recipe.json"}
    assert artifact.manifest.precision.kind == "fp16" and recipe.strongly_typed
    (plan,) = artifact.manifest.plans
    assert plan.network_layers > plan.engine_layers == len(artifact.manifest.layers) > 0


@needs_rtx
@pytest.mark.parametrize(("target", "evidence"), [("t4", True), ("l4", True), ("jetson-orin", False), ("h100", False)])
def test_every_other_gpu_gets_graph_and_recipe(target, evidence, compiled, cli):
    path = compiled(target, "--precision", "fp16")
    artifact = open_bundle(path)
    recipe = read_recipe(artifact)
    assert artifact.manifest.runtime == "tensorrt" and not artifact.manifest.finished
    assert set(artifact.manifest.members) == {"network_0.onnx", "recipe.json"}
    assert (recipe.parts[0].evidence_sha256 is not None) == evidence == bool(artifact.manifest.layers)
    assert recipe.evidence.startswith("layers as tensorrt-rtx" if evidence else "none: compute capability")
    out = cli("explain", path).out
    assert "not built yet: run `edgecls finish`" in out
    assert ["evidence", recipe.evidence] in [line.split(maxsplit=1) for line in out.splitlines()]
    assert "us predicted" not in out and "measured us" not in out


@needs_rtx
def test_explain_shows_what_fused(compiled, cli, tmp_path):
    path = compiled("rtx-4090", "--precision", "fp16")
    out = cli("explain", path, "--json", tmp_path / "e.json").out
    assert "network_layers" in out and "engine_layers" in out and "fused: " in out
    assert "gpu       " in out and "precision" in out
    rows = json.loads((tmp_path / "e.json").read_text())["manifest"]["layers"]
    assert any({"conv", "act"} <= set(row["onnx_nodes"]) for row in rows)


@needs_rtx
def test_int8_is_calibrated_and_says_on_what(road, cli, tmp_path):
    images = save_images(tmp_path / "images")
    path = tmp_path / "int8.ecls"
    assert cli("compile", road.model, "-t", "rtx-3060", "--precision", "int8", "--calibrate", images,
               "--calibration", "entropy", "-o", path).status == 0
    precision = open_bundle(path).manifest.precision
    assert (precision.kind, precision.calibration, precision.calibration_images) == ("int8", "entropy", 5)
    assert "int8, ranges by entropy over 5 images" in cli("explain", path).out
    assert any(row.precision == "int8" for row in open_bundle(path).manifest.layers)


@needs_rtx
def test_one_plan_serves_several_batch_sizes(road, cli, tmp_path):
    from tests.models import MODELS

    (tmp_path / "m.onnx").write_bytes(MODELS["classifier"]().onnx)
    outcome = cli("compile", tmp_path / "m.onnx", "-t", "rtx-3060", "--batch", "1,8,32", "-o", tmp_path / "m.ecls")
    assert outcome.status == 0, outcome.err
    artifact = open_bundle(tmp_path / "m.ecls")
    assert set(artifact.manifest.members) == {"plan_0.bin", "recipe.json"}
    assert len(read_recipe(artifact).parts[0].profiles) == 3
    assert outcome.out.count("engine layers") == 3


@needs_rtx
def test_a_refusal_of_the_builder_is_one_message_and_nothing_is_written(road, cli, tmp_path):
    board = tmp_path / "odd.toml"
    from edgecls.targets.load import FOLDER

    board.write_text((FOLDER / "rtx-3060.toml").read_text().replace('"8.6"', '"8.7"'))
    for target, words, hint in ((board, "compute capability 8.7 cannot be built", "edgecls finish"),
                                (_turing(tmp_path), "FP32 GEMM is not supported", "--precision fp16")):
        outcome = cli("compile", road.model, "-t", target, "-o", tmp_path / "never.ecls")
        assert outcome.status == 2 and words in outcome.err and hint in outcome.err
        assert "Traceback" not in outcome.err and not (tmp_path / "never.ecls").exists()


def _turing(folder):
    from edgecls.targets.load import FOLDER

    path = folder / "rtx-2080.toml"
    path.write_text((FOLDER / "rtx-3060.toml").read_text().replace('"8.6"', '"7.5"'))
    return path


@without_gpu
@needs_rtx
def test_without_a_gpu_each_command_says_what_is_missing(compiled, road, cli, tmp_path):
    unfinished, plan = compiled("t4", "--precision", "fp16"), compiled("rtx-4090", "--precision", "fp16")
    before = unfinished.read_bytes()
    for arguments, words in ((("finish", unfinished), "no GPU to build for"),
                             (("run", unfinished, road.images[0]), "has no engine yet"),
                             (("run", plan, road.images[0]), ("NVIDIA driver", "bindings to CUDA")),
                             (("bench", plan), ("NVIDIA driver", "bindings to CUDA")),
                             (("finish", plan, "-o", tmp_path / "x.ecls"), "built already")):
        outcome = cli(*arguments)
        assert outcome.status == 2 and "hint:" in outcome.err and "Traceback" not in outcome.err
        assert any(w in outcome.err for w in ((words,) if isinstance(words, str) else words)), outcome.err
    assert unfinished.read_bytes() == before


@needs_rtx
@pytest.mark.parametrize("command", ["run", "bench", "validate", "explain"])
def test_an_engine_is_refused_before_a_device_is_asked(command, compiled, road, cli, tmp_path, monkeypatch):
    """There is no such host: a connection would be another error, seconds later."""
    monkeypatch.setattr("edgecls.devices.open_device", lambda *how: pytest.fail("was opened"))
    plan = compiled("rtx-4090", "--precision", "fp16")
    arguments = {"run": [road.images[0]], "validate": ["--data", road.data], "bench": [], "explain": ["--profile"]}
    outcome = cli(command, plan, *arguments[command], "--on", "ssh://nobody@no.such.host.invalid")
    assert outcome.status == 2
    said = "the layers of an engine are not timed one by one" if command == "explain" else "engines run on the machine"
    assert said in outcome.err and "hint: " in outcome.err


def test_a_bundle_for_cpus_needs_no_finishing(road, cli, tmp_path):
    assert cli("compile", road.model, "-t", "native", "--backend", "null", "-o", tmp_path / "n.ecls").status == 0
    outcome = cli("finish", tmp_path / "n.ecls")
    assert outcome.status == 2 and "nothing to finish" in outcome.err


def test_the_cpu_of_a_target_with_a_gpu_is_asked_for(road, cli, tmp_path):
    outcome = cli("compile", road.model, "-t", "rtx-3060", "--backend", "null", "-o", tmp_path / "n.ecls")
    assert outcome.status == 0
    outcome = cli("compile", road.model, "-t", "raspberry-pi-4", "--backend", "tensorrt", "-o", tmp_path / "n.ecls")
    assert outcome.status == 2 and "has no GPU" in outcome.err


@pytest.mark.parametrize(("arguments", "words"), [
    (["--precision", "int8"], "none were given"),
    (["--precision", "fp16", "--keep-fp32", "nothing_like_it"], "no node is called"),
    (["--precision", "int8", "--calibrate", "/no/such/folder"], "is not a folder"),
    (["--keep-fp32", "conv"], "has no effect in fp32"),
    (["--calibration", "minmax"], "has no effect in fp32"),
    (["--precision", "fp16", "--calibrate", "."], "--calibrate has no effect in fp16"),
    (["--precision", "fp16", "--tf32"], "--tf32 has no effect in fp16"),
    (["--tf32", "-t", "t4"], "--tf32 has no effect on compute capability 7.5"),
])
def test_precision_flags_that_cannot_be_meant(arguments, words, road, cli, tmp_path):
    outcome = cli("compile", road.model, "-t", "rtx-3060", "-o", tmp_path / "never.ecls", *arguments)
    assert outcome.status == 2 and words in outcome.err and list(tmp_path.iterdir()) == []


def test_constants_beyond_half_are_named(cli, tmp_path):
    from tests.passes.precision.networks import large_constant

    (tmp_path / "m.onnx").write_bytes(large_constant(1e-6, 1e6).onnx)
    outcome = cli("compile", tmp_path / "m.onnx", "-t", "native", "--backend", "reference", "--precision", "fp16",
                  "-o", tmp_path / "m.ecls")
    assert outcome.status == 0 and "beyond float16's largest number, 65504: mul" in outcome.err
    assert "in float32: mul (constants beyond float16's range in mul)" in cli("explain", tmp_path / "m.ecls").out


def test_a_cpu_does_not_compile_half_precision(road, cli, tmp_path):
    outcome = cli("compile", road.model, "-t", "raspberry-pi-4", "--precision", "fp16", "-o", tmp_path / "never.ecls")
    assert outcome.status == 2 and "--backend reference" in outcome.err


def test_timing_caches_are_kept_apart(tmp_path, monkeypatch):
    names = {cache_name(*facts) for facts in (("Orin (nvgpu)", "R36 (release), REVISION: 4.0", "10.3.0"),
                                              ("Orin (nvgpu)", "R36 (release), REVISION: 4.0", "10.7.0"),
                                              ("Tesla T4", "550.54.15", "10.7.0"), ("../../x", "", "10.7.0"))}
    assert len(names) == 4 and all("/" not in name and not name.startswith(".") for name in names)
    assert cache_folder().name == "timing_caches"


def test_doctor_names_what_a_gpu_run_lacks(cli):
    out = cli("doctor").out
    for subject in ("gpu  ", "tensorrt  ", "cuda bindings", "gpu run"):
        assert any(subject in line for line in out.splitlines()), subject
    if facts(Place()).tensorrt.missing:
        assert "NVIDIA's own package index" in out and "JetPack" in out
