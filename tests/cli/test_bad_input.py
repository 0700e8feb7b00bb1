"""Whatever a user gets wrong: one clear message with a next step, exit code 2, and nothing written."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgecls.cli.main import run
from edgecls.errors import OutputError
from edgecls.output import check_writable
from tests.cli.conftest import tiny_network


@pytest.fixture
def refused(cli, tmp_path):
    """Call the command line; it must refuse, say `pattern`, and leave `tmp_path` as it was."""
    def call(*arguments: object, said: str) -> None:
        before = snapshot(tmp_path)
        outcome = cli(*arguments)
        assert outcome.status == 2, outcome
        lines = outcome.err.splitlines()
        assert [line.split(":")[0] for line in lines[-2:]] == ["error", "hint"], outcome.err
        assert said in lines[-2], outcome.err
        assert len(lines[-1]) > len("hint: ")
        assert "Traceback" not in outcome.err
        assert outcome.out == ""
        assert snapshot(tmp_path) == before
    return call


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="session")
def bundle(road):
    path = road.folder / "native.ecls"
    assert run(["compile", str(road.model), "-t", "native", "--backend", "reference", "-o", str(path), "-q"]) == 0
    return path


@pytest.fixture(scope="session")
def board_bundle(road):
    path = road.folder / "board.ecls"
    assert run(["compile", str(road.model), "-t", "raspberry-pi-4", "-o", str(path), "-q"]) == 0
    return path


# ---------------------------------------------------------------- networks


def text_file(path: Path) -> None:
    path.write_text("I am not a network\n")


def truncated(path: Path) -> None:
    path.write_bytes(tiny_network().SerializeToString()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def unknown_operator(path: Path) -> None:
    path.write_bytes(tiny_network(op="Frobnicate").SerializeToString())


def dynamic_height(path: Path) -> None:
    onnx.save(tiny_network(height="h"), path)


def dynamic_width(path: Path) -> None:
    onnx.save(tiny_network(width="w"), path)


def impossibly_large(path: Path) -> None:
    onnx.save(tiny_network(height=10**9, width=10**9), path)


def float64_weights(path: Path) -> None:
    model = tiny_network()
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)


def missing_external_data(path: Path) -> None:
    onnx.save(tiny_network(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()


def external_data_outside(path: Path) -> None:
    model = tiny_network()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    path.write_bytes(model.SerializeToString())


NETWORKS = [
    (text_file, "bad.onnx"), (truncated, "bad.onnx"), (empty, "bad.onnx"), (unknown_operator, "'Frobnicate'"),
    (dynamic_height, "dynamic"), (dynamic_width, "dynamic"), (float64_weights, "float64"),
    (impossibly_large, "1000000000"),
    (missing_external_data, "weights.bin"), (external_data_outside, "etc/passwd"),
]


@pytest.mark.parametrize(("make", "said"), NETWORKS, ids=[n[0].__name__ for n in NETWORKS])
@pytest.mark.parametrize("command", ["check", "compile", "export"])
def test_networks(refused, tmp_path, command, make, said):
    make(tmp_path / "bad.onnx")
    rest = {"check": ["-t", "native"], "compile": ["-t", "native", "-o", tmp_path / "out.ecls"],
            "export": ["-o", tmp_path / "out.onnx"]}[command]
    refused(command, tmp_path / "bad.onnx", *rest, said=said)


def test_a_network_that_is_not_there(refused, tmp_path):
    refused("compile", tmp_path / "no.onnx", "-t", "native", "-o", tmp_path / "out.ecls", said="no.onnx")


# ---------------------------------------------------------------- targets, backends, outputs


def test_unknown_names(refused, road, tmp_path):
    out = tmp_path / "out.ecls"
    refused("compile", road.model, "-t", "raspberry-pi-44", "-o", out, said="raspberry-pi-44")
    refused("compile", road.model, "-t", "native", "--backend", "magic", "-o", out, said="no backend 'magic'")
    refused("check", road.model, "-t", tmp_path / "no.toml", said="no.toml")
    refused("export", "nosuch:thing", "-o", tmp_path / "out.onnx", said="nosuch")
    refused("targets", "raspberry-pi-44", said="raspberry-pi-44")


@pytest.mark.parametrize("command", ["check", "compile"])
def test_a_cpu_that_llvm_does_not_know(refused, road, tmp_path, command):
    board = tmp_path / "board.toml"
    text = (Path(__file__).parents[2] / "targets" / "raspberry-pi-4.toml").read_text()
    board.write_text(text.replace('name = "cortex-a72"', 'name = "cortex-z72"'))
    rest = ["-o", tmp_path / "out.ecls"] if command == "compile" else []
    refused(command, road.model, "-t", board, *rest, said="cpu.name: LLVM knows no aarch64 CPU 'cortex-z72'")


def test_output_folders_are_checked_before_long_work(refused, road, bundle, tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("work began")
    for stage in ("edgecls.frontend.load_onnx", "edgecls.frontend.export_source", "edgecls.pipeline.open_bundle"):
        monkeypatch.setattr(stage, never)
    nowhere = tmp_path / "nowhere" / "out"
    for command in (["compile", road.model, "-t", "native", "-o", nowhere], ["export", road.raw, "-o", nowhere],
                    ["run", bundle, road.images[0], "--json", nowhere], ["bench", bundle, "--json", nowhere],
                    ["validate", bundle, "--data", road.data, "--json", nowhere],
                    ["check", road.model, "-t", "native", "--json", nowhere], ["explain", bundle, "--json", nowhere]):
        refused(*command, said="does not exist")
    refused("compile", road.model, "-t", "native", "-o", tmp_path, said="is a folder")


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/../dev/stderr", "/dev/null"])
def test_no_output_replaces_what_is_in_dev(name):
    """Only the check: were it to fail in a command run by root, the command would take the link's place."""
    with pytest.raises(OutputError, match=r"device|standard output"):
        check_writable(Path(name))


def test_an_input_is_never_replaced(refused, road, bundle, tmp_path):
    model, ecls, image = (tmp_path / source.name for source in (road.model, bundle, road.images[0]))
    for copy, source in ((model, road.model), (ecls, bundle), (image, road.images[0])):
        copy.write_bytes(source.read_bytes())
    (tmp_path / "result.json").write_text("{}")
    for command in (["compile", model, "-t", "native", "-o", model], ["check", model, "-t", "native", "--json", model],
                    ["run", ecls, image, "--json", ecls], ["run", ecls, image, "--json", image],
                    ["bench", ecls, "--json", ecls], ["explain", ecls, "--json", ecls],
                    ["validate", ecls, "--data", road.data, "--reference", model, "--json", model],
                    ["report", tmp_path / "result.json", "-o", tmp_path / "result.json"]):
        refused(*command, said="would be lost")


def in_child(arguments: list[object], prepare) -> tuple[int, str]:
    """Exit code and stderr of the command line in a forked child that `prepare` has weakened."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.dup2(writer, 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        status = 99
        try:
            prepare()
            status = run([str(a) for a in arguments])
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def test_a_folder_without_write_permission(road, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)

    def become_nobody() -> None:
        if os.getuid() == 0:  # root ignores permissions
            for folder in [road.folder, *road.folder.parents][:3]:
                folder.chmod(0o755)
            for folder in [tmp_path, *tmp_path.parents][:3]:
                folder.chmod(0o755)
            os.setgid(65534)
            os.setuid(65534)

    status, said = in_child(["compile", road.model, "-t", "native", "--backend", "reference", "-q", "-o",
                             locked / "out.ecls"], become_nobody)
    assert status == 2
    assert said.startswith("error: ") and "not writable" in said and "\nhint: " in said
    assert list(locked.iterdir()) == []


@pytest.mark.parametrize(("backend", "target", "limit", "said"), [
    ("reference", "native", 1000, "{output}: cannot be written"), ("tvm", "native", 1000, "{scratch}/edgecls-"),
    ("tvm", "aarch64", 8192, "{scratch}/edgecls-"),
])
def test_a_full_disk(road, tmp_path, monkeypatch, backend, target, limit, said):
    import signal
    import tempfile

    scratch, outputs = tmp_path / "scratch", tmp_path / "outputs"
    scratch.mkdir()
    outputs.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))

    def no_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    output = outputs / "out.ecls"
    status, error = in_child(["compile", road.model, "-t", target, "--backend", backend, "-q", "-o", output], no_room)
    assert status == 2
    assert error.startswith("error: " + said.format(output=output, scratch=scratch))
    assert "\nhint: " in error and len(error.splitlines()) == 2
    assert backend == "reference" or "TMPDIR" in error
    assert list(outputs.iterdir()) == [] == list(scratch.iterdir())


def test_no_folder_for_temporary_files(refused, road, bundle, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/null"])
    refused("validate", bundle, "--data", road.data, "--reference", road.model, said="temporary")


# ---------------------------------------------------------------- bundles


def test_a_flipped_byte_anywhere(refused, road, bundle, tmp_path):
    data, broken = bundle.read_bytes(), tmp_path / "broken.ecls"
    for position in np.random.default_rng(5).integers(0, len(data), 25):
        broken.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1:])
        refused("run", broken, road.images[0], said="broken.ecls")


@pytest.mark.parametrize("command", ["explain", "run", "validate", "bench"])
def test_what_is_no_bundle(refused, road, bundle, tmp_path, command):
    rest = {"run": [road.images[0]], "validate": ["--data", road.data]}.get(command, [])
    (tmp_path / "half.ecls").write_bytes(bundle.read_bytes()[:1000])
    for path in (tmp_path / "no.ecls", tmp_path / "half.ecls", road.model, road.folder):
        refused(command, path, *rest, said=str(path))


def test_a_bundle_for_another_isa(refused, road, board_bundle):
    refused("run", board_bundle, road.images[0], "--on", "local", said="aarch64")


# ---------------------------------------------------------------- images and data


def test_images(cli, refused, road, bundle, tmp_path):
    empty, text = tmp_path / "empty.png", tmp_path / "text.jpg"
    empty.write_bytes(b"")
    text.write_text("no image")
    for path, said in ((empty, "0 bytes"), (text, "text.jpg"), (tmp_path / "no.png", "no.png")):
        refused("run", bundle, road.images[0], path, said=said)


@pytest.mark.parametrize(("mode", "name", "said"), [("CMYK", "cmyk.jpg", "CMYK"), ("I;16", "deep.png", "16")])
def test_images_that_are_converted_say_so(cli, bundle, tmp_path, mode, name, said):
    Image.new(mode, (30, 20)).save(tmp_path / name)
    outcome = cli("run", bundle, tmp_path / name)
    assert outcome.status == 0
    assert outcome.err.startswith(f"note: {tmp_path / name}: ") and said in outcome.err
    assert outcome.out.startswith(f"{tmp_path / name}\n")


def test_data_sets(refused, bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.csv").write_text("path,label\nno.png,red\n")
    for data in ("empty", "no", "wrong.csv"):
        refused("validate", bundle, "--data", tmp_path / data, said=data)


@pytest.mark.parametrize("option", ["--min-top1", "--min-agreement", "--max-logit-difference"])
@pytest.mark.parametrize("limit", ["nan", "inf"])
def test_limits_that_nothing_could_break(refused, road, bundle, option, limit):
    refused("validate", bundle, "--data", road.data, "--reference", road.model, option, limit, said=option)


# ---------------------------------------------------------------- devices and tools


@pytest.mark.parametrize(("device", "said"), [
    ("teapot", "teapot"), ("ssh://", "ssh"), ("ssh://-oProxyCommand=x", "ssh"), ("ssh://user@127.0.0.1:1", "127.0.0.1"),
])
def test_devices(refused, road, board_bundle, device, said):
    refused("run", board_bundle, road.images[0], "--on", device, said=said)


def test_no_emulator(refused, road, board_bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused("run", board_bundle, road.images[0], "--on", "qemu", said="qemu")


def test_no_cross_compiler(refused, road, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    refused("compile", road.model, "-t", "armv7", "-o", tmp_path / "out.ecls", said="compiler")


# ---------------------------------------------------------------- results


def test_results(cli, refused, bundle, tmp_path):
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "other.json").write_text('{"kind": "poem"}')
    out = tmp_path / "report.md"
    for name in ("text.json", "other.json", "no.json"):
        refused("report", tmp_path / name, "-o", out, said=name)
    assert cli("bench", bundle, "--runs", 20, "--json", tmp_path / "good.json").status == 0
    refused("report", tmp_path / "good.json", "-o", tmp_path / "report.docx", said=".docx")


# ---------------------------------------------------------------- what is no file


@pytest.fixture(params=["pipe", "device", "folder", "link to a device"])
def special(request, tmp_path):
    path = tmp_path / "special.onnx"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        path = Path("/dev/zero")
    return path


@pytest.mark.parametrize("arguments", [
    ["compile", "{}", "-t", "native", "-o", "out.ecls"], ["check", "{}", "-t", "native"],
    ["export", "{raw}", "-o", "out.onnx", "--labels", "{}"],
    ["export", "{raw}", "-o", "out.onnx", "--preprocess", "{}"],
    ["run", "{bundle}", "{}"], ["explain", "{}"], ["validate", "{bundle}", "--data", "{bundle}", "--reference", "{}"],
], ids=lambda a: " ".join(a[:1] + a[-2:]))
def test_neither_pipes_nor_devices_are_opened(cli, tmp_path, monkeypatch, road, bundle, special, arguments):
    monkeypatch.chdir(tmp_path)
    csv = tmp_path / "data.csv"
    csv.write_text(f"path,label\n{road.images[0]},dark\n")
    filled = [a.format(special, raw=road.raw, bundle=bundle) for a in arguments]
    if "--data" in filled:
        filled[filled.index("--data") + 1] = str(csv)
    outcome = cli(*filled)
    assert outcome.status == 2, outcome
    assert "not a file" in outcome.err or "not a bundle" in outcome.err or "no such file" in outcome.err
    assert "hint: " in outcome.err and "Traceback" not in outcome.err


@pytest.mark.parametrize("arguments", [["compile", "{}", "-t", "native", "-o", "out.ecls"], ["run", "{bundle}", "{}"]],
                         ids=["network", "image"])
def test_a_file_of_a_terabyte_is_not_read(cli, tmp_path, monkeypatch, bundle, arguments):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(1 << 40)
    outcome = cli(*[a.format(tmp_path / "huge.onnx", bundle=bundle) for a in arguments])
    assert outcome.status == 2 and "larger than" in outcome.err


def test_a_network_that_only_names_a_class(refused, tmp_path):
    model = tiny_network()
    model.graph.node.add(op_type="ArgMax", input=["logits"], output=["class"], name="argmax")
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("class", onnx.TensorProto.INT64, [1, 4]))
    model.graph.node[-1].attribute.append(onnx.helper.make_attribute("axis", 1))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    onnx.save(model, tmp_path / "bad.onnx")
    refused("export", tmp_path / "bad.onnx", "-o", tmp_path / "out.onnx", said="ArgMax")
    refused("compile", tmp_path / "bad.onnx", "-t", "native", "-o", tmp_path / "out.ecls", said="ArgMax")


def test_a_reference_of_another_size(cli, tmp_path, road, bundle):
    onnx.save(tiny_network(height=20, width=20), tmp_path / "other.onnx")
    outcome = cli("validate", bundle, "--data", road.data, "--reference", tmp_path / "other.onnx")
    assert outcome.status == 2
    assert "[3, 20, 20]" in outcome.err and "[3, 16, 16]" in outcome.err
    assert outcome.err.endswith("hint: give the model that the bundle was compiled from as --reference\n")


def test_a_device_that_hangs(cli, road, board_bundle, monkeypatch):
    """A stopped emulator: the whole way from --timeout to one clear error."""
    import signal

    from edgecls.runtime.wire import Request, Wire

    ask = Wire.request

    def stop_and_ask(self, kind, *arguments, **options):
        if kind is Request.RUN_IMAGES:
            os.kill(self._process._popen.pid, signal.SIGSTOP)
        return ask(self, kind, *arguments, **options)

    monkeypatch.setattr(Wire, "request", stop_and_ask)
    outcome = cli("run", board_bundle, road.images[0], "--on", "qemu", "--timeout", 1, "-q")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("error: qemu:cortex-a72: ec_run has been silent for 1 seconds\nhint: ")
