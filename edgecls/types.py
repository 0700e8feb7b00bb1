"""The frozen values that flow between stages.

    trained model -> ExportedGraph -> OptimizedGraph -> Artifact -> Measurement / AccuracyResult -> Report
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgecls.contract import Contract
from edgecls.frozen import Frozen, sha256

Array = npt.NDArray[Any]
Arch = Literal["x86_64", "aarch64", "armv7"]
Runtime = Literal["edgecls", "tensorrt", "tensorrt-rtx", "onnxruntime", "null"]


# ---------------------------------------------------------------- target


class Cache(Frozen):
    """Bytes; per core for l1d, as seen by one core for l2 and l3. 0 means absent."""

    l1d: int
    l2: int
    l3: int = 0
    line: int = 64


class Cpu(Frozen):
    """name: LLVM's -mcpu. features: ISA features code may rely on, in the words of targets.FEATURES.

    vector_bits and vector_registers describe the float unit; fma_pipes how many of its pipes do vector FMAs (one that
    is narrower than a vector counts as one), fma_latency their cycles, load_ports vector loads per cycle. cores and
    clock_mhz are the board's.
    """

    name: str
    arch: Arch
    features: tuple[str, ...]
    cores: int
    clock_mhz: int
    vector_bits: int
    vector_registers: int
    fma_pipes: int
    fma_latency: int
    load_ports: int
    cache: Cache


class Os(Frozen):
    """glibc: the oldest version the target may have, as "2.28"."""

    glibc: str
    kernel: str = "linux"


class Gpu(Frozen):
    """compute_capability as "8.7". rtx: TensorRT-RTX lists the card as supported."""

    name: str
    compute_capability: str
    memory_mb: int
    rtx: bool = False


class Target(Frozen):
    """One board. sources: for each number, where it comes from (key path -> document)."""

    name: str
    description: str
    cpu: Cpu
    memory_mb: int
    os: Os
    qemu_cpu: str | None = None
    gpu: Gpu | None = None
    cc: tuple[str, ...] | None = None
    sources: dict[str, str] = {}


# ---------------------------------------------------------------- images and tensors


class Pixels:
    """A decoded image: uint8, HWC, C = 1 (L), 3 (RGB) or 4 (RGBA), C-contiguous.

    note: what decoding had to change ("CMYK converted to RGB"), or "".
    """

    __slots__ = ("data", "note")

    def __init__(self, data: Array, note: str = "") -> None:
        if data.dtype != np.uint8 or data.ndim != 3 or data.shape[2] not in (1, 3, 4):
            raise ValueError(f"pixels must be uint8 HWC with 1, 3 or 4 channels, not {data.dtype} {data.shape}")
        self.data = np.ascontiguousarray(data)
        self.note = note


class TensorSpec(Frozen):
    """shape has the batch in front where the network has one."""

    name: str
    dtype: str
    shape: tuple[int, ...]


# ---------------------------------------------------------------- graphs


class PassRecord(Frozen):
    """What one rewrite did. max_difference: largest absolute output difference on random input."""

    name: str
    fired: bool
    nodes_before: int
    nodes_after: int
    max_difference: float


class ExportedGraph(Frozen):
    """A checked ONNX model. onnx: serialised ModelProto, contract in its metadata. Shapes are static, but dimension 0
    of the inputs may be the symbol "batch", which optimize_graph binds.

    source: where it came from, in words. notes: what the user should know (opset converted, batch bound...).
    max_difference: largest absolute difference to the framework on random input, None for an .onnx source.
    """

    onnx: bytes
    contract: Contract
    source: str
    notes: tuple[str, ...] = ()
    max_difference: float | None = None

    @property
    def hash(self) -> str:
        return sha256(self.onnx)


PrecisionName = Literal["fp32", "fp16", "int8"]


class Precision(Frozen):
    """What a network computes in, written into its graph. kept_fp32: nodes that stay float32. beyond_fp16: those
    of them that had to, since they read a constant that float16 cannot hold.

    For int8: calibration (method), how many images, and calibration_hash, which tells which images.
    """

    kind: PrecisionName = "fp32"
    kept_fp32: tuple[str, ...] = ()
    beyond_fp16: tuple[str, ...] = ()
    calibration: str = ""
    calibration_images: int = 0
    calibration_hash: str = ""


class OptimizedGraph(Frozen):
    """The network after the passes, once per batch size. onnx: batch -> serialised ModelProto, all shapes static.

    parent: ExportedGraph.hash.
    """

    onnx: dict[int, bytes]
    contract: Contract
    parent: str
    passes: tuple[PassRecord, ...] = ()
    precision: Precision = Precision()

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted(self.onnx))

    @property
    def hash(self) -> str:
        return sha256("".join(f"{b}:{sha256(self.onnx[b])};" for b in self.batches).encode())


class Unsupported(Frozen):
    """One node a backend cannot compile. node: its name; op: "domain.Op"; reason: why."""

    node: str
    op: str
    reason: str


# ---------------------------------------------------------------- artifact


class Layer(Frozen):
    """One row of the manifest's layers[] table: the same schema for every backend.

    onnx_nodes: nodes of the optimised graph that this unit computes. weight_bytes, activation_bytes: bytes it
    reads or writes once. flops: 2 x multiply-adds. predicted_us: of the cost model, at the target's clock;
    measured_us: of tuning or a profile; error: relative numeric error measured when the algorithm was chosen. reason:
    why it is done like that.
    """

    index: int
    batch: int
    kernel: str
    onnx_nodes: tuple[str, ...]
    op: str
    algorithm: str
    layout: str
    precision: str
    weight_bytes: int
    activation_bytes: int
    flops: int
    predicted_us: float | None = None
    measured_us: float | None = None
    error: float | None = None
    reason: str = ""


class Member(Frozen):
    bytes: int
    sha256: str


class ThreadFacts(Frozen):
    """Arena and liveness peak of a session with that many threads, bytes."""

    threads: int
    arena_bytes: int
    peak_bytes: int


class PeakFacts(Frozen):
    """What a one-thread arena is made of: the bytes alive at its fullest call, and the gaps between them.

    layer: index of that call's row in layers[]. tensors: the network's own, at the sizes it gives them. padding: what
    blocks of channels and 64-byte boundaries add. inputs: kept for another run, though the network has read them.
    copies: a second form of a tensor, in another layout. workspaces: of that call. gaps: bytes without a use.
    """

    layer: int
    tensors: int
    padding: int
    inputs: int
    copies: int
    workspaces: int
    gaps: int


class PlanFacts(Frozen):
    """Memory of one batch size, with one thread: arena_bytes holds inputs, outputs, activations and workspaces;
    peak_bytes is the most of them that is alive at once; tensors_peak_bytes the same for the network's tensors alone,
    at their own sizes, each gone after its last use.

    workspace_bytes_per_thread: what each further thread adds at most; threads: what it comes to, up to the target's
    cores.

    network_layers, engine_layers: how many layers a builder was given and made of them; null where none was asked.
    """

    batch: int
    calls: int
    arena_bytes: int
    peak_bytes: int
    workspace_bytes_per_thread: int
    tensors_peak_bytes: int = 0
    peak: PeakFacts | None = None
    threads: tuple[ThreadFacts, ...] = ()
    network_layers: int | None = None
    engine_layers: int | None = None


class Manifest(Frozen):
    """What a bundle says of itself. Everything is plain data, so two equal compiles give equal bytes."""

    format: int
    runtime: Runtime
    backend: str
    target: Target
    toolchain: dict[str, str]
    members: dict[str, Member]
    parent: str
    exported: str
    options: dict[str, Any]
    decisions: tuple[dict[str, Any], ...]
    layers: tuple[Layer, ...]
    passes: tuple[PassRecord, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: tuple[int, ...]
    plans: tuple[PlanFacts, ...]
    weights_bytes: int
    contract: Contract
    symbol: str = ""
    precision: Precision = Precision()

    def __post_init__(self) -> None:
        if not self.batches or self.batches[0] < 1 or list(self.batches) != sorted(set(self.batches)):
            raise ValueError(f"batches must be ascending sizes from 1 on, not {list(self.batches)}")

    @property
    def finished(self) -> bool:
        """False while the engine is still to be built on the device: `edgecls finish`."""
        return self.runtime != "tensorrt" or any(name.startswith("plan_") for name in self.members)


class Artifact(Frozen):
    """A bundle on disk, verified. hash: its trailer, i.e. SHA-256 of every byte before it."""

    path: Path
    hash: str
    manifest: Manifest


# ---------------------------------------------------------------- measuring


class GpuState(Frozen):
    """The GPU that a session runs on. driver: version of the kernel module, or a Jetson's release, "" where it is not
    told. cuda: the newest CUDA version the driver serves, as "12.4". Megabytes are MiB.
    """

    name: str
    compute_capability: str
    driver: str
    cuda: str
    memory_total_mb: int
    memory_free_mb: int

    def __str__(self) -> str:
        return f"{self.name}, driver {self.driver or 'unknown'}, CUDA {self.cuda}"


class DeviceFacts(Frozen):
    """What a device says of itself at one moment. None where it cannot be read; never the host's for an emulator.

    clocks_mhz: current frequency per core. temperature_c: hottest zone. load: 1-minute load average. gpu: of a session
    that runs on one.
    """

    name: str
    machine: str
    emulated: bool
    cpu_model: str | None = None
    cores: int | None = None
    kernel: str | None = None
    os: str | None = None
    libc: str | None = None
    governor: str | None = None
    clocks_mhz: tuple[float, ...] | None = None
    temperature_c: float | None = None
    load: float | None = None
    memory_total_mb: int | None = None
    memory_free_mb: int | None = None
    emulator: str | None = None
    gpu: GpuState | None = None


class MeasureSettings(Frozen):
    """warmup and runs per repeat; repeats are two or more interleaved series of the same artifact."""

    batch: int = 1
    warmup: int = 5
    runs: int = 50
    repeats: int = 2
    threads: int = 1


class Samples(Frozen):
    """Raw values of one series: nanoseconds of each run, or executed instructions per inference.

    gpu_ns: of the same runs, what the GPU's own events say of the kernels alone, where there is a GPU.
    """

    kind: Literal["time_ns", "instructions"]
    values: tuple[int, ...]
    gpu_ns: tuple[int, ...] = ()


class KernelTime(Frozen):
    """Mean nanoseconds per call of one entry of the plan (layers[] index), over `runs`."""

    layer: int
    kernel: str
    mean_ns: float
    runs: int


class Gate(Frozen):
    """What must hold for accuracy to pass. None: not asked for. Fractions of 1."""

    min_top1: float | None = None
    min_agreement: float | None = None
    max_relative_logit_difference: float | None = None
