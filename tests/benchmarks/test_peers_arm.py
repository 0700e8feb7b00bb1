from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.arm_mix import Mix
from benchmarks.peers import arm
from benchmarks.peers.arm_convert import Converter
from benchmarks.peers.arm_root import describe_board


def row(program: str, instructions: int = 0, network: str = "a", failed: str | None = None):
    return {"network": network, "program": program, "failed": failed, "version": "1", "difference": 0.0,
            "executed": Mix(instructions)._asdict()}


def test_ratios_are_per_network():
    rows = [row("edgecls", 10), row("ncnn", 20), row("mnn", failed="crashed"), row("edgecls", 30, "b"),
            row("ncnn", 15, "b"), row("ncnn", 15, "c")]
    assert arm.ratio(rows, rows[1], "edgecls") == 0.5
    assert arm.ratio(rows, rows[2], "edgecls") is None and arm.ratio(rows, rows[-1], "edgecls") is None
    assert arm.summary(rows) == "edgecls / ncnn: geometric mean 1.00 (a 0.50, b 2.00)"
    rows.append(row("edgecls --growth 4", 15, "b"))
    assert arm.summary(rows).splitlines()[1:] == ["edgecls --growth 4 / ncnn: geometric mean 1.00 (b 1.00)"]


def test_a_wrong_conversion_is_seen():
    verdict = arm.columns([])[-1].cell
    assert verdict({**row("ncnn"), "difference": 0.2}) == "2.0e-01 **WRONG**"
    assert verdict({**row("ncnn"), "difference": 1e-6}) == "1.0e-06"
    assert verdict(row("ncnn", failed="status -11")) == "status -11"


def test_board_answers_for_itself(tmp_path):
    describe_board(tmp_path)
    cpus = tmp_path / "sys/devices/system/cpu"
    assert (tmp_path / "proc/cpuinfo").read_text().count("CPU part\t: 0xd08") == 4
    assert (cpus / "cpu3/regs/identification/midr_el1").read_text() == "0x00000000410fd083\n"
    assert (cpus / "cpu1/cache/index0/shared_cpu_list").read_text() == "1\n"
    assert (cpus / "cpu1/cache/index2/size").read_text() == "1024K\n"


def test_converted_files_are_kept(tmp_path, monkeypatch):
    model = tmp_path / "net.onnx"
    model.write_bytes(b"")
    made = []

    def convert(self, source, work):
        made.append(source)
        for suffix in (".ncnn.param", ".ncnn.bin", ".pnnx.py"):
            (work / f"net{suffix}").write_text(suffix)

    monkeypatch.setattr(Converter, "_to_ncnn", convert)
    converter = Converter(tmp_path / "venv", tmp_path / "models")
    first, second = (converter.convert("ncnn", model) for _ in range(2))
    assert first == second and first.read_text() == ".ncnn.param" and made == [model]
    assert sorted(file.name for file in first.parent.iterdir()) == ["net.ncnn.bin", "net.ncnn.param"]
    assert converter.convert("onnxruntime", model) == model


def test_a_converter_that_fails_says_why(tmp_path, capsys):
    from benchmarks.peers.arm_convert import run_quietly
    with pytest.raises(subprocess.CalledProcessError):
        run_quietly([sys.executable, "-c", "print('no such operator'); raise SystemExit(3)"], tmp_path)
    assert "no such operator" in capsys.readouterr().err
