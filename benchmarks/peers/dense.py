"""The dense convolutions of a network, and what each of their kernels spends its time on."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from benchmarks.peers.floors import Rates, here, pin
from benchmarks.peers.layers import Call
from edgecls.frozen import Frozen
from edgecls.harness.statistics import percentile
from edgecls.runtime.build import C_FOLDER, build_library
from edgecls.targets import host_arch
from edgecls.toolchain import find_toolchain
from edgecls.types import Artifact, Layer

CHANNELS = 32
ACTIVATION_INSTRUCTIONS: Mapping[str, int] = {
    "": 0, "Add": 1, "Add+Relu": 2, "Relu": 1, "Clip": 2, "HardSigmoid": 4, "HardSwish": 5, "Sigmoid": 19,
    "Sigmoid+Mul": 16, "Div+Erf+Add+Mul+Mul": 15}
"""Vector instructions behind the sums of a vector of results that take the multiply-adds' place, by the layer's ops;
the bias is where the sums begin. A division counts as four."""
_WITHIN = Path(__file__).with_name("within.c")


class Shape(Frozen):
    """inputs: multiply-adds of one result."""

    outputs: int
    inputs: int


class Spent(Frozen):
    """Microseconds of one direct convolution; they add up to its time in the network.

    product: multiply-adds at the rate of a product in the first cache. lanes: of channels that do not fill their last
    vector, or its half where halves are computed. activation: what follows the sums, on the same ports; 0, and in the
    rest, where nobody has counted it. cold: weights and pixels that are not in the caches: the call's time in the
    network less that of its third time in a row. rest: anything else.
    """

    index: int
    shape: Shape
    activation_ops: str
    pixels: int
    us: float
    product: float
    lanes: float
    activation: float
    cold: float

    @property
    def rest(self) -> float:
        return self.us - self.product - self.lanes - self.activation - self.cold


def dense_nodes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Name -> shape of the convolutions that count: 1x1 and 3x3, ungrouped, at least CHANNELS each way."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        shape = shapes.get(node.input[1], ()) if node.op_type == "Conv" else ()
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if groups == 1 and shape[2:] in ((1, 1), (3, 3)) and min(shape[:2]) >= CHANNELS:
            found[node.name] = Shape(outputs=shape[0], inputs=shape[1] * shape[2] * shape[3])
    return found


def uses_weights_once(layer: Layer) -> bool:
    """Two operations for four bytes, as for one pixel."""
    return 2 * layer.flops <= layer.weight_bytes


def spent(call: Call, shape: Shape, cold_us: float, rates: Rates, together: int) -> Spent:
    """Of a direct convolution. together: as many output channels as are computed at least."""
    ops = call.layer.op.partition("+")[2]
    product = 1e6 * call.layer.flops / rates.fed_flops_per_s
    filled = shape.outputs / (-(-shape.outputs // together) * together)
    activation = product / filled * ACTIVATION_INSTRUCTIONS.get(ops, 0) / shape.inputs
    return Spent(index=call.layer.index, shape=shape, activation_ops=ops,
                 pixels=round(call.layer.flops / 2 / shape.inputs / shape.outputs), us=call.us, product=product,
                 lanes=product / filled - product, activation=activation, cold=max(0.0, cold_us))


class Watched(Frozen):
    """A network's runs on one thread, each with what the core did right behind it. Lists are of runs.

    times_ns, third_ns: of each layer, in the network and at its third call in a row. alone, fed: operations in a second
    of multiply-adds of registers, and of a product in the first cache.
    """

    times_ns: dict[int, list[int]]
    third_ns: dict[int, list[int]]
    alone: list[float]
    fed: list[float]

    @property
    def fed_flops_per_s(self) -> float:
        return percentile(self.fed, 50)

    @property
    def flops_per_s(self) -> float:
        """At the clock at which a product reaches fed_flops_per_s."""
        return percentile([a / f for a, f in zip(self.alone, self.fed, strict=True)], 50) * self.fed_flops_per_s

    def at_one_clock(self, times_ns: Sequence[int]) -> list[float]:
        """As if a product reached fed_flops_per_s behind each run: the clock of a core, above all of a part of a
        machine that others share, changes by a tenth within milliseconds."""
        return [ns * fed / self.fed_flops_per_s for ns, fed in zip(times_ns, self.fed, strict=True)]

    def cold_us(self, layer: int) -> float:
        """What a call takes more in its network than at its third time in a row."""
        network, third = (percentile(self.at_one_clock(x[layer]), 50) for x in (self.times_ns, self.third_ns))
        return (network - third) / 1e3


def watch(artifact: Artifact, folder: Path, runs: int) -> Watched:
    """Of the smallest batch. folder: for the program and the installed bundle. Raises ToolchainError."""
    toolchain = find_toolchain(host_arch())
    library = build_library(host_arch(), toolchain)
    program = folder / "within"
    (folder / "libedgecls.so.1").symlink_to(library)
    toolchain.run(["-O3", here(toolchain), "-ffp-contract=fast", "-std=c11", "-Wall", "-Wextra", "-Werror",
                   f"-I{C_FOLDER / 'include'}", str(_WITHIN), str(library), f"-Wl,-rpath,{folder}", "-o", str(program)])
    said = subprocess.run([str(program), str(artifact.path), str(folder / "installed"), str(runs)], check=True,
                          capture_output=True, text=True, preexec_fn=lambda: pin(1)).stdout.splitlines()
    layers = [layer.index for layer in artifact.manifest.layers if layer.batch == artifact.manifest.batches[0]]
    times, third = (dict(zip(layers, map(list, zip(*(map(int, line.split()) for line in said[start::3]), strict=True)),
                             strict=True)) for start in (0, 1))
    alone, fed = zip(*(map(float, line.split()) for line in said[2::3]), strict=True)
    return Watched(times_ns=times, third_ns=third, alone=list(alone), fed=list(fed))
