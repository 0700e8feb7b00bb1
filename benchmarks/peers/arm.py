"""Instructions, loads and stores per inference beside other engines' on ARM: their own AArch64 wheels, emulated.

    python -m benchmarks.peers.arm [--models NAME...] [--peers NAME...] [--onnx FOLDER] [--work FOLDER]
                                   [-o benchmarks/results/peers_arm.json]

Installs what it needs into FOLDER (default: build): Debian's Python for arm64, the wheels, the converters. A row whose
program, network and runner are what they were is not counted again.
"""

from __future__ import annotations

import argparse
import itertools
import math
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arm_mix import Mix, mix_of
from benchmarks.command_line import run_main
from benchmarks.evidence import Column, Evidence, Row, runtime_hash, say
from benchmarks.executed import blocks_of_one_run
from benchmarks.models import MODELS, add_onnx_option, model_file
from benchmarks.peers.arm_convert import Converter
from benchmarks.peers.arm_root import WHEELS, ArmRoot
from benchmarks.peers.workers import WorkerError
from edgecls import pipeline
from edgecls.backends.tvm import CompileOptions
from edgecls.devices import QemuDevice
from edgecls.errors import DeviceError
from edgecls.frozen import sha256
from edgecls.oracle import import_onnxruntime
from edgecls.targets import load_target

EDGECLS, GROWN = "edgecls", "edgecls --growth 4"
OWN = {EDGECLS: CompileOptions(), GROWN: CompileOptions(growth=4.0)}
PEERS = ("ncnn", "mnn", "onnxruntime", "openvino", "litert")
NETWORKS = ("mobilenet_v3_small", "mobilenet_v2", "resnet18", "resnet50", "vgg16")
TARGET = "raspberry-pi-4"
WRONG = 1e-2
"""Above this relative difference a peer computed another network; Winograd stays well below."""
_RUNNER = Path(__file__).with_name("arm_runner.py")
_FEWER, _RUNS = 2, 2
_ENVIRONMENT = {  # what makes two starts execute the same
    "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}

_LEGEND = (
    "Executed instructions of one inference, emulated as a Cortex-A72, batch 1, fp32, one thread. Those of "
    "edgecls and ncnn repeat to a few in a million. **They are not times:** fewer instructions with worse cache use "
    "is no win.",
    "Peers are their own AArch64 wheels, run by Debian's Python; /proc/cpuinfo and /sys/devices/system/cpu answer for "
    "a Raspberry Pi 4. Counts are of four inferences less two, over two (edgecls: three less one), so loading falls "
    "out; the peers' contain the few thousand instructions of the Python call. ncnn: fp16 and bf16 storage off, else "
    "its defaults, Winograd among them. MNN: precision high. OpenVINO: inference precision f32. "
    "LiteRT: its default delegate, XNNPACK.",
    "A load or store is an instruction that reads or writes memory; of `ldp q0, q1` it is one with 32 bytes. *FMA* is "
    "the share of vector multiply-adds among all instructions. *Difference* is to ONNX Runtime on this machine, in "
    "parts of the logits' range.",
    "Weights may take 1.3 times their size for Winograd, with `--growth 4` four times; the peers know no such limit.",
)


def count_edgecls(options: CompileOptions, model: Path, known: Row, evidence: Evidence, image: Any,
                  expected: Any) -> Row | None:
    """None when the bundle comes out as it was."""
    with tempfile.TemporaryDirectory(prefix="edgecls-") as folder:
        artifact = pipeline.compile_model(model, load_target(TARGET), Path(folder) / "model.ecls", options=options)
        state = {"bundle": artifact.hash, "runtime": runtime_hash()}
        if evidence.find(**known, **state) is not None:
            return None
        mix = mix_of(block for blocks in blocks_of_one_run(artifact).values() for block in blocks)
        with pipeline.open_session(artifact, "qemu") as session:
            (result,) = session.run({session.inputs[0].name: image}).values()
    return {**state, **_counted(mix, result, expected)}


def count_peer(peer: str, model: Path, root: ArmRoot, image: Any, expected: Any) -> Row:
    """Raises DeviceError when the peer fails; its own last words are in it."""
    paths = [str(root.wheel("numpy")), str(root.wheel(peer))]
    with tempfile.TemporaryDirectory(prefix="edgecls-") as work, \
            QemuDevice(load_target(TARGET), root.sysroot, _ENVIRONMENT) as device:
        given, answer = Path(work) / "input.npy", Path(work) / "output.npy"
        np.save(given, image)

        def count(runs: int) -> Mix:
            return mix_of(device.executed_blocks(
                [str(root.python), "-S", str(_RUNNER), peer, str(model), str(given), str(answer), str(runs), *paths]))

        few, many = count(_FEWER), count(_FEWER + _RUNS)
        return _counted(many.per_run(few, _RUNS), np.load(answer), expected)


def _counted(mix: Mix, result: Any, expected: Any) -> Row:
    difference = float(np.abs(result.reshape(-1) - expected.reshape(-1)).max() / np.ptp(expected))
    return {"executed": mix._asdict(), "difference": difference, "failed": None}


def reference(model: Path) -> tuple[Any, Any]:
    """A seeded image and ONNX Runtime's answer to it on this machine."""
    session = import_onnxruntime().InferenceSession(str(model), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    image = np.random.default_rng(0).standard_normal((1, *given.shape[1:]), dtype=np.float32)
    return image, session.run(None, {given.name: image})[0]


def ratio(rows: list[Row], row: Row, program: str) -> float | None:
    """Instructions of one of edgecls' programs over those of this row's, for one network."""
    own = next((r for r in rows if r["network"] == row["network"] and r["program"] == program), None)
    if own is None or _instructions(own) is None or _instructions(row) is None:
        return None
    return float(own["executed"]["instructions"] / row["executed"]["instructions"])


def _instructions(row: Row) -> int | None:
    return None if row["failed"] else row["executed"]["instructions"]


def _million(key: str) -> Any:
    return lambda row: "–" if row["failed"] else f"{row['executed'][key] / 1e6:,.1f}"


def _share(key: str) -> Any:
    return lambda row: "–" if row["failed"] else f"{row['executed'][key] / row['executed']['instructions']:.0%}"


def _verdict(row: Row) -> str:
    if row["failed"]:
        return str(row["failed"])
    return f"{row['difference']:.1e}" + (" **WRONG**" if row["difference"] > WRONG else "")


def columns(evidence: list[Evidence]) -> tuple[Column, ...]:
    """evidence: holds the one that is written, once it is there: ratios look at other rows."""
    def ratio_cell(program: str) -> Callable[[Row], str]:
        def cell(row: Row) -> str:
            rows = evidence[0].rows if evidence else []
            found = ratio(rows, row, program) if row["program"] not in OWN else None
            return "" if found is None else f"{found:.2f}"

        return cell

    return (
        Column("network", lambda r: r["network"]),
        Column("program", lambda r: f"{r['program']} {r['version']}".strip()),
        Column("instructions, million", _million("instructions")),
        Column("edgecls / this", ratio_cell(EDGECLS)),
        Column("with --growth 4", ratio_cell(GROWN)),
        Column("loads, million", _million("loads")),
        Column("stores, million", _million("stores")),
        Column("MB loaded", _million("loaded_bytes")),
        Column("MB stored", _million("stored_bytes")),
        Column("FMA", _share("fmas")),
        Column("difference", _verdict),
    )


def summary(rows: list[Row]) -> str:
    lines = []
    for own, peer in itertools.product(OWN, PEERS):
        ratios = {row["network"]: found for row in rows
                  if row["program"] == peer and (found := ratio(rows, row, own)) is not None}
        if ratios:
            mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
            each = ", ".join(f"{name} {value:.2f}" for name, value in ratios.items())
            lines.append(f"{own} / {peer}: geometric mean {mean:.2f} ({each})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=tuple(MODELS), default=NETWORKS)
    parser.add_argument("--peers", nargs="*", metavar="NAME", choices=PEERS, default=PEERS)
    parser.add_argument("--work", type=Path, metavar="FOLDER", default=Path("build"))
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/peers_arm.json"))
    add_onnx_option(parser)
    args = parser.parse_args()
    held: list[Evidence] = []
    evidence = Evidence(args.output, title="Instructions beside other engines on ARM", legend=_LEGEND,
                        columns=columns(held), identity=("network", "program"))
    held.append(evidence)
    root = ArmRoot(args.work / "arm-peers")
    converter = Converter(args.work / "arm-peers-venv", args.work / "arm-peers/models")
    if args.peers:
        root.prepare()
    for name in args.models:
        model = model_file(name, args.onnx)
        image, expected = reference(model)
        for program in (*OWN, *args.peers):
            say(f"{name}: {program}")
            version = WHEELS.get(program, "")
            known: Row = {"network": name, "program": program, "version": version, "onnx": sha256(model.read_bytes())}
            try:
                if program in OWN:
                    row = count_edgecls(OWN[program], model, known, evidence, image, expected)
                else:
                    known["runner"] = sha256(_RUNNER.read_bytes())
                    row = None if evidence.find(**known) else count_peer(
                        program, converter.convert(program, model), root, image, expected)
            except (DeviceError, WorkerError, subprocess.CalledProcessError) as error:
                said = " ".join(str(error).replace(f"{Path.cwd()}/", "").split())
                row = {"failed": said, "executed": Mix()._asdict(), "difference": None}
            if row is None:
                say("  as it was: not counted again")
                continue
            evidence.put({**known, **row})
            say(f"  {row['failed'] or row['executed']}")
    evidence.write()
    print(summary(evidence.rows))


if __name__ == "__main__":
    run_main(main)
