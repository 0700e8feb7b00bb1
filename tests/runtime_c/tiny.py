"""Builds tests/runtime_c/c/tiny.c as a bundle, and the runtime in the variants the tests need."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecls.bundle import write_bundle
from edgecls.contract import Contract, InputContract, OutputContract, Resize
from edgecls.types import Artifact, Cache, Cpu, Manifest, Os, Target

HERE = Path(__file__).parent / "c"
RUNTIME = Path(__file__).parents[2] / "edgecls" / "runtime" / "c"
PROGRAM = ("ec_run.c", "serve.c", "serve_wire.c")
FLAGS = ("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wconversion", "-ffp-contract=off",
         "-pthread", f"-I{RUNTIME / 'include'}")
ARCHS = {"x86_64": 1, "aarch64": 2, "armv7": 3}
SIDE = 8
WORKSPACE = SIDE * SIDE * 4 + 64
BUILD_ID = hashlib.sha256(b"tiny").hexdigest()[:32]

CONTRACT = Contract(
    inputs=(InputContract(name="image", dtype="float32", layout="NCHW", size=(SIDE, SIDE),
                          resize=Resize(mode="shortest", size=(10, 10), interpolation="bilinear"), crop="center",
                          color="RGB", scale=float(np.float32(1) / np.float32(255)), mean=(0.485, 0.456, 0.406),
                          std=(0.229, 0.224, 0.225), alpha="drop", exif="apply"),),
    outputs=(OutputContract(name="logits", role="logits", activation="softmax",
                            labels=('red "quoted"', "green", "blue")),),
)


def golden_input(batch: int) -> np.ndarray:
    """The golden tensor of ec_model.h, [batch, 3, 8, 8] float32, written again in numpy."""
    i = np.arange(batch * 3 * SIDE * SIDE, dtype=np.uint32)
    h = i * np.uint32(2654435761) + np.uint32(1)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x45D9F3B)
    h ^= h >> np.uint32(16)
    return ((h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)).reshape(batch, 3, SIDE, SIDE)


SCALE = np.array([1.5, -2.0, 0.25], np.float32)
BIAS = np.array([0.5, 0.125, -1.0], np.float32)


def network(image: np.ndarray) -> np.ndarray:
    """What tiny.c computes, [batch, 3] float32."""
    planes = image * SCALE[:, None, None] + BIAS[:, None, None]
    return planes.astype(np.float64).sum(axis=(2, 3)).astype(np.float32)


def weights() -> bytes:
    data = bytearray(256)
    data[0:12] = SCALE.tobytes()
    data[64:76] = BIAS.tobytes()
    data[128:140] = network(golden_input(1)).tobytes()
    data[192:216] = network(golden_input(2)).tobytes()
    return bytes(data)


def compile_c(cc: Sequence[str], output: Path, sources: Sequence[Path], *flags: str) -> Path:
    command = [*cc, *FLAGS, *flags, *map(str, sources), "-o", str(output), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output


def sources(*, program: bool) -> list[Path]:
    return [f for f in sorted((RUNTIME / "src").glob("*.c")) if program or f.name not in PROGRAM]


def write_config(folder: Path, *, embed: bool = False, build_id: str = BUILD_ID, name: str = "tiny") -> None:
    def array(data: bytes) -> str:
        return "{" + ",".join(map(str, data)) + "}"

    lines = [f'#define BUILD_ID "{build_id}"', f"#define SYMBOL ec_model_{build_id}", f'#define NAME "{name}"',
             f"#define WEIGHTS_SHA256 {array(hashlib.sha256(weights()).digest())}"]
    if embed:
        lines.append(f"#define EMBED {array(weights())}")
    (folder / "tiny_config.h").write_text("\n".join(lines) + "\n")


def members(folder: Path, cc: Sequence[str] = ("gcc",), arch: str = "x86_64", *flags: str) -> dict[str, bytes]:
    """header.bin, model.so and weights.bin of the tiny model."""
    write_config(folder)
    library = compile_c(cc, folder / "model.so", [HERE / "tiny.c"], "-shared", "-fPIC", "-fvisibility=hidden",
                        f"-I{folder}", *flags).read_bytes()
    planes = 3 * SIDE * SIDE * 4
    header = struct.pack("<8sIIQQQQ32s32s64s80x", b"ECLSHDR\0", 1, ARCHS[arch], 0, 256,
                         2 * planes + 64 + WORKSPACE, WORKSPACE, hashlib.sha256(library).digest(),
                         hashlib.sha256(weights()).digest(), f"ec_model_{BUILD_ID}".encode())
    return {"header.bin": header, "model.so": library, "weights.bin": weights()}


def bundle(path: Path, content: dict[str, bytes]) -> Artifact:
    target = Target(name="test", description="a test", memory_mb=1024, os=Os(glibc="2.28"),
                    cpu=Cpu(name="generic", arch="x86_64", features=(), cores=1, clock_mhz=1000, vector_bits=128,
                            vector_registers=16, fma_pipes=1, fma_latency=4, load_ports=1,
                            cache=Cache(l1d=32768, l2=1 << 20)))
    manifest = Manifest(format=1, runtime="edgecls", backend="tvm", target=target, toolchain={}, members={}, parent="",
                        exported="", options={}, decisions=(), layers=(), passes=(), inputs=(), outputs=(),
                        batches=(1, 2), plans=(), weights_bytes=256, contract=CONTRACT, symbol=f"ec_model_{BUILD_ID}")
    return write_bundle(path, manifest, content)


def unpack(folder: Path, content: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder
