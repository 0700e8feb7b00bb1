"""A bundle with a hand-written C model: libedgecls is tested without any compiler of networks."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from pathlib import Path

import numpy as np

from edgecls.bundle import write_bundle
from edgecls.contract import Contract, InputContract, OutputContract, Resize
from edgecls.runtime.build import C_FOLDER
from edgecls.toolchain import Toolchain
from edgecls.types import Artifact, Cache, Cpu, Layer, Manifest, Os, PlanFacts, Target, TensorSpec

SOURCE = Path(__file__).with_name("tiny_model.c")
LABELS = ("cat", "dog", "fish", "bird")
MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 0.75)
PIXELS, CLASSES = 3 * 8 * 8, 4
_QEMU = {"x86_64": "max", "aarch64": "cortex-a72", "armv7": "cortex-a7"}
_ARCH = {"x86_64": 1, "aarch64": 2, "armv7": 3}

CONTRACT = Contract(
    inputs=(InputContract(
        name="image", dtype="float32", layout="NCHW", size=(8, 8),
        resize=Resize(mode="shortest", size=(10, 10), interpolation="bilinear"), crop="center", color="RGB",
        scale=0.00390625, mean=MEAN, std=STD, alpha="refuse", exif="ignore"),),
    outputs=(OutputContract(name="logits", role="logits", activation="softmax", labels=LABELS),),
)


def golden_input(count: int) -> np.ndarray:
    """The formula in ec_model.h."""
    h = np.arange(count, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(1)
    h ^= h >> 16
    h *= np.uint32(0x45D9F3B)
    h ^= h >> 16
    return (h >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


class TinyModel:
    """The network W * relu(x) + b with random weights, and how to compile it for an architecture."""

    def __init__(self, seed: int = 0, name: str = "tiny", features: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.name = name
        self.features = features
        self.weight = random.normal(size=(CLASSES, PIXELS)).astype(np.float32)
        self.bias = random.normal(size=CLASSES).astype(np.float32)
        self.weights = b"".join(part.ljust(-(-len(part) // 64) * 64, b"\0") for part in (
            self.weight.tobytes(), self.bias.tobytes(),
            *(self.reference(golden_input(b * PIXELS).reshape(b, -1)).tobytes() for b in (1, 2))))
        self.build_id = hashlib.sha256(self.weights + name.encode()).hexdigest()[:32]
        self.symbol = f"ec_model_{self.build_id}"

    def reference(self, x: np.ndarray) -> np.ndarray:
        rows = np.maximum(x.reshape(x.shape[0], -1), 0).astype(np.float64)
        return (rows @ self.weight.T.astype(np.float64) + self.bias).astype(np.float32)

    def shared(self, folder: Path, toolchain: Toolchain) -> Path:
        self._configure(folder)
        toolchain.run([*self._flags(folder), "-shared", "-Wl,--build-id=none", "-o", "model.so"], cwd=folder)
        return folder / "model.so"

    def archive(self, folder: Path, toolchain: Toolchain) -> Path:
        """model.a, whose descriptor finds its weights at the hidden symbol ec_weights_<build id>."""
        self._configure(folder)
        toolchain.run([*self._flags(folder), "-DSTATIC_MODEL", "-c", "-o", "model.o"], cwd=folder)
        (folder / "model.a").unlink(missing_ok=True)
        subprocess.run(["ar", "rcD", "model.a", "model.o"], cwd=folder, check=True)
        return folder / "model.a"

    def bundle(self, path: Path, folder: Path, toolchain: Toolchain) -> Artifact:
        code = self.shared(folder, toolchain).read_bytes()
        header = struct.pack("<8sIIQQQQ32s32s64s80x", b"ECLSHDR\0", 1, _ARCH[toolchain.arch], self.features,
                             len(self.weights), 1600 + 768, 768, hashlib.sha256(code).digest(),
                             hashlib.sha256(self.weights).digest(), self.symbol.encode())
        return write_bundle(path, self.manifest(toolchain),
                            {"header.bin": header, "model.so": code, "weights.bin": self.weights})

    def manifest(self, toolchain: Toolchain) -> Manifest:
        cpu = Cpu(name="generic", arch=toolchain.arch, features=(), cores=1, clock_mhz=1000, vector_bits=128,
                  vector_registers=16, fma_pipes=1, fma_latency=4, load_ports=1, cache=Cache(l1d=32768, l2=262144))
        target = Target(name="tiny-board", description="", cpu=cpu, memory_mb=512, os=Os(glibc="2.36"),
                        qemu_cpu=_QEMU[toolchain.arch])
        layers = tuple(
            Layer(index=i, batch=b, kernel=f"{op}_{b}", onnx_nodes=(op,), op=op, algorithm="direct", layout="NCHW",
                  precision="float32", weight_bytes=0, activation_bytes=0, flops=0)
            for i, (b, op) in enumerate((b, op) for b in (1, 2) for op in ("rectify", "dense")))
        return Manifest(
            format=1, runtime="edgecls", backend="tiny", target=target, toolchain={"cc": toolchain.version},
            members={}, parent="0" * 64, exported="0" * 64, options={}, decisions=(), layers=layers, passes=(),
            inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, 8, 8)),),
            outputs=(TensorSpec(name="logits", dtype="float32", shape=(1, CLASSES)),), batches=(1, 2),
            plans=tuple(PlanFacts(batch=b, calls=2, arena_bytes=1536 * b + 64 + 768, peak_bytes=1536 * b + 64 + 768,
                                  workspace_bytes_per_thread=768) for b in (1, 2)),
            weights_bytes=len(self.weights), contract=CONTRACT, symbol=self.symbol)

    def _flags(self, folder: Path) -> list[str]:
        return ["-O2", "-std=c11", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", f"-I{C_FOLDER / 'include'}",
                f"-I{folder}", str(SOURCE)]

    def _configure(self, folder: Path) -> None:
        def floats(values: tuple[float, ...]) -> str:
            return "{" + ", ".join(f"{v!r}f" for v in values) + "}"

        digest = ", ".join(str(b) for b in hashlib.sha256(self.weights).digest())
        (folder / "tiny_config.h").write_text(
            f'#define BUILD_ID {self.build_id}\n#define MODEL_NAME "{self.name}"\n'
            f"#define WEIGHTS_BYTES {len(self.weights)}\n#define WEIGHTS_SHA256 {{{digest}}}\n"
            f"#define FEATURES {self.features}u\n"
            "#define IMAGE {EC_NCHW, EC_RGB, EC_BILINEAR, EC_PILLOW, EC_SHORTEST, EC_CROP_CENTER, EC_ALPHA_REFUSE, "
            f"10, 10, 8, 8, 0.00390625f, {floats(MEAN)}, {floats(STD)}}}\n")
