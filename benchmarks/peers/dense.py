"""The dense convolutions of a network, and what each of their kernels spends its time on."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from benchmarks.peers.floors import Rates, pin
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
    "Sigmoid+Mul": 16}
"""Vector instructions behind the sums of a vector of results that take the multiply-adds' place, by the layer's ops;
the bias is where the sums begin. A division counts as four."""
_HOT = Path(__file__).with_name("hot.c")


class Shape(Frozen):
    """inputs: multiply-adds of one result."""

    outputs: int
    inputs: int


class Spent(Frozen):
    """Microseconds of one direct convolution; they add up to its time in the network.

    product: multiply-adds at the rate of a product in the first cache. lanes: of channels that do not fill their last
    vector. activation: what follows the sums, on the same ports. cold: weights and pixels that are not in the caches:
    the call's first time less its third in a row. rest: anything else.
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


def spent(call: Call, shape: Shape, cold_us: float, rates: Rates) -> Spent:
    """Of a direct convolution. Raises KeyError for an activation that nobody has counted the instructions of."""
    ops = call.layer.op.partition("+")[2]
    product = 1e6 * call.layer.flops / rates.fed_flops_per_s
    filled = shape.outputs / (-(-shape.outputs // rates.lanes) * rates.lanes)
    activation = product / filled * ACTIVATION_INSTRUCTIONS[ops] / shape.inputs
    return Spent(index=call.layer.index, shape=shape, activation_ops=ops,
                 pixels=round(call.layer.flops / 2 / shape.inputs / shape.outputs), us=call.us, product=product,
                 lanes=product / filled - product, activation=activation, cold=max(0.0, cold_us))


def cold_us(artifact: Artifact, folder: Path, runs: int) -> dict[int, float]:
    """Layer -> what its first time takes more than its third in a row; medians of `runs`, one thread."""
    toolchain = find_toolchain(host_arch())
    library = build_library(host_arch(), toolchain)
    program = folder / "hot"
    (folder / "libedgecls.so.1").symlink_to(library)
    toolchain.run(["-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{C_FOLDER / 'include'}", str(_HOT),
                   str(library), f"-Wl,-rpath,{folder}", "-o", str(program)])
    said = subprocess.run([str(program), str(artifact.path), str(folder / "installed"), str(runs)], check=True,
                          capture_output=True, text=True, preexec_fn=lambda: pin(1)).stdout.splitlines()
    first, third = ([list(map(int, line.split())) for line in said[start::2]] for start in (0, 1))
    layers = [layer.index for layer in artifact.manifest.layers if layer.batch == artifact.manifest.batches[0]]
    return {index: (_median(a) - _median(b)) / 1e3
            for index, a, b in zip(layers, zip(*first, strict=True), zip(*third, strict=True), strict=True)}


def _median(times: Sequence[int]) -> float:
    return percentile(times, 50)
