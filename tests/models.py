"""Small ONNX networks made by hand, with odd shapes: what backends, passes and devices are tested on.

    graph = MODELS["convolutions"]()          # ExportedGraph; batch is symbolic
    feed = random_feed(graph, batch=2)        # seeded arrays by input name
    expected = run_onnxruntime(graph, feed)   # what ONNX Runtime itself answers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from edgecls.contract import Contract, InputContract, OutputContract, Resize
from edgecls.types import Array, ExportedGraph

Shape = Sequence[int | str]


class Builder:
    """Collects nodes. Methods return value names."""

    def __init__(self, seed: int = 0, opset: int = 18, ir_version: int = 10) -> None:
        self.random = np.random.default_rng(seed)
        self.opset, self.ir_version = opset, ir_version
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[str] = []
        self.constants: list[onnx.TensorProto] = []

    def input(self, name: str, shape: Shape, dtype: int = onnx.TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def constant(self, value: Any, dtype: Any = None, name: str = "") -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        """Normal, scaled so that activations keep their size."""
        fan_in = int(np.prod(shape[1:])) or 1
        return self.constant(self.random.standard_normal(shape) / np.sqrt(fan_in), np.float32)

    def node(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", name: str | None = None,
             **attributes: Any) -> Any:
        results = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), results, domain=domain,
                                           name=f"{op}_{len(self.nodes)}" if name is None else name, **attributes))
        return results if outputs > 1 else results[0]

    def output(self, value: str, name: str) -> None:
        """Mark `value` as a network output called `name`."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"to_{name}"))
        self.outputs.append(name)

    def finish(self, contract: Contract | None = None) -> ExportedGraph:
        """Types of the outputs come from ONNX shape inference."""
        graph = helper.make_graph(self.nodes, "test", self.inputs,
                                  [onnx.ValueInfoProto(name=n) for n in self.outputs], self.constants)
        opsets = [helper.make_opsetid(d, self.opset if d == "" else 1) for d in sorted({n.domain for n in self.nodes})]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version)
        inferred = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.output}
        for output in model.graph.output:
            kind = inferred[output.name].type
            elem = kind.tensor_type.elem_type or onnx.TensorProto.FLOAT
            output.CopyFrom(helper.make_tensor_value_info(output.name, elem, None))
            if kind.tensor_type.HasField("shape"):
                output.type.CopyFrom(kind)
        return ExportedGraph(onnx=model.SerializeToString(), contract=contract or self._raw_contract(), source="tests")

    def _raw_contract(self) -> Contract:
        names = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64", onnx.TensorProto.INT32: "int32",
                 onnx.TensorProto.UINT8: "uint8"}
        inputs = tuple(InputContract(name=v.name, dtype=names[v.type.tensor_type.elem_type], layout="raw")
                       for v in self.inputs)
        return Contract(inputs=inputs, outputs=tuple(OutputContract(name=n, role="auxiliary") for n in self.outputs))


def image_contract(size: int = 32, layout: str = "NCHW", classes: int = 10) -> Contract:
    image = InputContract(
        name="x", dtype="float32", layout=layout, size=(size, size), crop="center", color="RGB", scale=1 / 255,
        resize=Resize(mode="shortest", size=(size + 4, size + 4), interpolation="bilinear"), mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3), alpha="drop", exif="apply")
    labels = tuple(f"class {i}" for i in range(classes))
    return Contract(inputs=(image,), outputs=(OutputContract(name="logits", role="logits", activation="softmax",
                                                             labels=labels),))


def convolution(x: str, b: Builder, channels: int, out: int, kernel: int | tuple[int, int] = 3, *, groups: int = 1,
                bias: bool = True, **attributes: Any) -> str:
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    weights = [b.weight(out, channels // groups, kh, kw)] + ([b.weight(out)] if bias else [])
    return b.node("Conv", x, *weights, group=groups, kernel_shape=[kh, kw], **attributes)


def batch_norm(x: str, b: Builder, channels: int) -> str:
    parameters = [b.constant(b.random.uniform(0.5, 1.5, channels), np.float32) for _ in range(2)]
    mean = b.constant(b.random.standard_normal(channels), np.float32)
    variance = b.constant(b.random.uniform(0.5, 1.5, channels), np.float32)
    return b.node("BatchNormalization", x, *parameters, mean, variance, epsilon=1e-3)


def convolutions() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 13, 17, 19))
    b.output(convolution(x, b, 13, 10, pads=[1, 1, 1, 1]), "same")
    b.output(convolution(x, b, 13, 7, strides=[2, 2], pads=[1, 1, 1, 1]), "strided")
    b.output(convolution(x, b, 13, 6, strides=[2, 1], dilations=[2, 3], pads=[2, 3, 2, 3]), "dilated")
    b.output(convolution(x, b, 13, 21, 1), "pointwise")
    b.output(convolution(x, b, 13, 5, 1, strides=[2, 2], bias=False), "pointwise_strided")
    b.output(convolution(x, b, 13, 13, groups=13, pads=[1, 1, 1, 1]), "depthwise")
    b.output(convolution(x, b, 13, 26, 5, groups=13, strides=[2, 2], pads=[2, 2, 2, 2]), "depthwise_multiplier")
    b.output(convolution(x, b, 13, 9, pads=[0, 1, 2, 0]), "asymmetric")
    b.output(convolution(x, b, 13, 8, (1, 7), pads=[0, 3, 0, 3]), "row")
    b.output(convolution(x, b, 13, 4, (17, 19)), "whole_image")
    return b.finish()


def grouped_convolutions() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 12, 11, 13))
    b.output(convolution(x, b, 12, 18, groups=3, pads=[1, 1, 1, 1]), "grouped")
    b.output(convolution(x, b, 12, 8, groups=4, strides=[2, 2], auto_pad="SAME_UPPER"), "same_upper")
    b.output(convolution(x, b, 12, 8, 4, strides=[3, 3], auto_pad="SAME_LOWER"), "same_lower")
    b.output(convolution(x, b, 12, 6, auto_pad="VALID"), "valid")
    return b.finish()


def poolings() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 5, 14, 15))
    b.output(b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), "max")
    b.output(b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), "max_ceil")
    b.output(b.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), "average")
    b.output(b.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
                    count_include_pad=1), "average_with_pad")
    b.output(b.node("AveragePool", x, kernel_shape=[2, 3], strides=[2, 3], ceil_mode=1), "average_ceil")
    b.output(b.node("GlobalAveragePool", x), "global_average")
    b.output(b.node("GlobalMaxPool", x), "global_max")
    return b.finish()


def activations() -> ExportedGraph:
    b = Builder(opset=20)
    x = b.node("Mul", b.input("x", ("batch", 7, 5, 3)), b.constant(4.0, np.float32))
    for op in ("Relu", "Sigmoid", "Tanh", "Exp", "Erf", "HardSigmoid", "HardSwish", "Elu", "LeakyRelu", "Softplus",
               "Abs", "Neg", "Gelu"):
        b.output(b.node(op, x), op.lower())
    b.output(b.node("Gelu", x, approximate="tanh"), "gelu_tanh")
    b.output(b.node("Mul", x, b.node("Sigmoid", x)), "silu")
    b.output(b.node("Clip", x, b.constant(0, np.float32), b.constant(6, np.float32)), "relu6")
    b.output(b.node("Clip", x, b.constant(-1, np.float32)), "clip_below")
    b.output(b.node("PRelu", x, b.constant(b.random.random((7, 1, 1)), np.float32)), "prelu")
    half = b.node("Mul", x, b.constant(0.5, np.float32))
    erf = b.node("Erf", b.node("Div", x, b.constant(np.sqrt(2), np.float32)))
    b.output(b.node("Mul", half, b.node("Add", erf, b.constant(1, np.float32))), "gelu_by_hand")
    return b.finish()


def matrix_products() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 3, 7, 11))
    b.output(b.node("MatMul", x, b.weight(11, 5)), "shared_right")
    b.output(b.node("MatMul", x, b.node("Transpose", x, perm=[0, 1, 3, 2])), "batched")
    flat = b.node("Flatten", x, axis=1)
    b.output(b.node("Gemm", flat, b.weight(13, 231), b.weight(13), transB=1), "gemm")
    b.output(b.node("Gemm", flat, b.weight(231, 9), b.weight(1, 9), alpha=0.5, beta=2.0), "gemm_scaled")
    b.output(b.node("MatMul", flat, b.weight(231, 6)), "dense")
    return b.finish()


def normalisations() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 9, 13))
    b.output(b.node("Softmax", x, axis=-1), "softmax")
    b.output(b.node("Softmax", x, axis=1), "softmax_middle")
    b.output(b.node("LogSoftmax", x, axis=-1), "log_softmax")
    b.output(b.node("LayerNormalization", x, b.weight(13), b.weight(13), axis=-1, epsilon=1e-5), "layer_norm")
    image = b.node("Reshape", x, b.constant([0, 9, 13, 1], np.int64))
    b.output(batch_norm(image, b, 9), "batch_norm")
    b.output(b.node("InstanceNormalization", image, b.weight(9), b.weight(9)), "instance_norm")
    return b.finish()


def shape_changes() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 6, 5, 7))

    def ints(*values: int) -> str:
        return b.constant(values, np.int64)

    first, second, third = b.node("Split", x, ints(1, 2, 3), outputs=3, axis=1)
    b.output(b.node("Concat", third, first, second, axis=1), "concat")
    b.output(b.node("Slice", x, ints(1, -6), ints(6, -1), ints(1, 3), ints(2, 2)), "slice")
    b.output(b.node("Slice", x, ints(-1), ints(-100), ints(2), ints(-2)), "slice_reversed")
    b.output(b.node("Transpose", x, perm=[0, 2, 3, 1]), "transpose")
    b.output(b.node("Reshape", x, ints(0, 3, -1)), "reshape")
    b.output(b.node("Pad", x, ints(0, 0, 1, 2, 0, 0, 0, 3), b.constant(0.5, np.float32)), "pad")
    b.output(b.node("Pad", x, ints(0, 0, 2, 2, 0, 0, 1, 1), mode="reflect"), "pad_reflect")
    b.output(b.node("Squeeze", b.node("Slice", x, ints(2), ints(3), ints(2)), ints(2)), "squeeze")
    b.output(b.node("Unsqueeze", x, ints(2)), "unsqueeze")
    b.output(b.node("Flatten", x, axis=2), "flatten")
    b.output(b.node("Gather", x, ints(4, 0, 0), axis=2), "gather")
    shuffled = b.node("Transpose", b.node("Reshape", x, ints(0, 2, 3, 5, 7)), perm=[0, 2, 1, 3, 4])
    b.output(b.node("Reshape", shuffled, ints(0, 6, 5, 7)), "channel_shuffle")
    return b.finish()


def elementwise() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 3, 5, 7))
    for op in ("Add", "Sub", "Mul", "Div"):
        b.output(b.node(op, x, b.constant(b.random.uniform(1, 2, (3, 1, 1)), np.float32)), op.lower())
    b.output(b.node("Max", x, b.constant(0.1, np.float32)), "max")
    b.output(b.node("Min", x, b.node("Neg", x)), "min")
    b.output(b.node("Pow", x, b.constant(2, np.float32)), "pow")
    b.output(b.node("Sqrt", b.node("Abs", x)), "sqrt")
    b.output(b.node("Where", b.node("Greater", x, b.constant(0, np.float32)), x, b.constant(-1, np.float32)), "where")
    return b.finish()


def reductions() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 5, 6, 7))
    b.output(b.node("ReduceMean", x, b.constant([2, 3], np.int64), keepdims=0), "mean")
    b.output(b.node("ReduceMean", x, b.constant([-1], np.int64), keepdims=1), "mean_last")
    b.output(b.node("ReduceSum", x, b.constant([1], np.int64), keepdims=0), "sum")
    b.output(b.node("ReduceMax", x, b.constant([1, 3], np.int64), keepdims=1), "max")
    b.output(b.node("ReduceL2", x, b.constant([1], np.int64), keepdims=1), "l2")
    b.output(b.node("ArgMax", b.node("Flatten", x), axis=1, keepdims=0), "argmax")
    return b.finish()


def resizes() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 3, 5, 7))
    scales = b.constant([1, 1, 2, 2], np.float32)
    b.output(b.node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor"), "nearest")
    b.output(b.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"), "linear")
    return b.finish()


def classifier(layout: str = "NCHW") -> ExportedGraph:
    """Conv-BN-ReLU blocks with a residual, a squeeze-and-excite, pooling and a dense layer; takes images."""
    b = Builder()
    if layout == "NHWC":
        x = b.node("Transpose", b.input("x", ("batch", 32, 32, 3)), perm=[0, 3, 1, 2])
    else:
        x = b.input("x", ("batch", 3, 32, 32))
    x = b.node("Relu", batch_norm(convolution(x, b, 3, 16, strides=[2, 2], pads=[1, 1, 1, 1], bias=False), b, 16))
    y = batch_norm(convolution(x, b, 16, 16, pads=[1, 1, 1, 1]), b, 16)
    squeezed = convolution(b.node("GlobalAveragePool", y), b, 16, 4, 1)
    gate = b.node("Sigmoid", convolution(b.node("Relu", squeezed), b, 4, 16, 1))
    x = b.node("Relu", b.node("Add", x, b.node("Mul", y, gate)))
    x = b.node("MaxPool", convolution(x, b, 16, 24, 1), kernel_shape=[2, 2], strides=[2, 2])
    # As exporters write a flatten with a dynamic batch: Shape, Gather and Concat feeding a Reshape.
    x = b.node("GlobalAveragePool", x)
    size = b.node("Gather", b.node("Shape", x), b.constant([0], np.int64), axis=0)
    x = b.node("Reshape", x, b.node("Concat", size, b.constant([-1], np.int64), axis=0))
    x = b.node("Gemm", x, b.weight(10, 24), b.weight(10), transB=1)
    b.output(x, "logits")
    return b.finish(image_contract(layout=layout))


def attention() -> ExportedGraph:
    """One transformer block: layer norm, two-head attention, MLP with GELU."""
    b = Builder()
    x = b.input("x", ("batch", 10, 16))
    y = b.node("LayerNormalization", x, b.weight(16), b.weight(16), axis=-1)
    qkv = b.node("Add", b.node("MatMul", y, b.weight(16, 48)), b.weight(48))
    qkv = b.node("Transpose", b.node("Reshape", qkv, b.constant([0, 10, 3, 2, 8], np.int64)), perm=[2, 0, 3, 1, 4])
    q, k, v = (b.node("Gather", qkv, b.constant(i, np.int64), axis=0) for i in range(3))
    scores = b.node("MatMul", q, b.node("Transpose", k, perm=[0, 1, 3, 2]))
    scores = b.node("Mul", scores, b.constant(8**-0.5, np.float32))
    mixed = b.node("Transpose", b.node("MatMul", b.node("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    mixed = b.node("Reshape", mixed, b.constant([0, 10, 16], np.int64))
    x = b.node("Add", x, b.node("MatMul", mixed, b.weight(16, 16)))
    hidden = b.node("MatMul", x, b.weight(16, 31))
    erf = b.node("Erf", b.node("Mul", hidden, b.constant(0.5**0.5, np.float32)))
    half = b.node("Mul", hidden, b.constant(0.5, np.float32))
    gelu = b.node("Mul", half, b.node("Add", erf, b.constant(1, np.float32)))
    b.output(b.node("Add", x, b.node("MatMul", gelu, b.weight(31, 16))), "tokens")
    return b.finish()


def two_inputs() -> ExportedGraph:
    b = Builder()
    x, y = b.input("x", ("batch", 6)), b.input("y", ("batch", 3, 6))
    b.output(b.node("Add", b.node("Unsqueeze", x, b.constant([1], np.int64)), y), "sum")
    return b.finish()


def unknown_operator() -> ExportedGraph:
    b = Builder()
    x = b.input("x", ("batch", 3))
    b.output(b.node("Relu", b.node("Frobnicate", x, domain="com.example", name="odd_one")), "y")
    return b.finish()


MODELS: dict[str, Callable[[], ExportedGraph]] = {
    "convolutions": convolutions,
    "grouped_convolutions": grouped_convolutions,
    "poolings": poolings,
    "activations": activations,
    "matrix_products": matrix_products,
    "normalisations": normalisations,
    "shape_changes": shape_changes,
    "elementwise": elementwise,
    "reductions": reductions,
    "resizes": resizes,
    "classifier": classifier,
    "classifier_nhwc": lambda: classifier("NHWC"),
    "attention": attention,
    "two_inputs": two_inputs,
}


def random_feed(graph: ExportedGraph, batch: int = 1, seed: int = 1) -> dict[str, Array]:
    """Standard normal values for every input, the symbolic batch bound."""
    random = np.random.default_rng(seed)
    feed = {}
    for value in onnx.load_from_string(graph.onnx).graph.input:
        shape = [d.dim_value or batch for d in value.type.tensor_type.shape.dim]
        feed[value.name] = random.standard_normal(shape).astype(
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    return feed


def run_onnxruntime(graph: ExportedGraph, feed: dict[str, Array]) -> dict[str, Array]:
    """ONNX Runtime's own answer, on the network as exported."""
    session = ort.InferenceSession(graph.onnx, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def assert_close(actual: dict[str, Array], expected: dict[str, Array], tolerance: float = 1e-4) -> None:
    """Every output within `tolerance` of its expected range."""
    assert list(actual) == list(expected)
    for name, want in expected.items():
        got = actual[name]
        assert got.shape == want.shape and got.dtype == want.dtype, (name, got.shape, got.dtype, want.shape, want.dtype)
        limit = tolerance * float(np.ptp(want)) if want.dtype.kind == "f" else 0
        worst = float(np.abs(got.astype(np.float64) - want).max())
        assert worst <= limit, f"output {name!r}: off by {worst:.3g}, allowed {limit:.3g}"
