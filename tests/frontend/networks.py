"""Small ONNX files, each with one property that the tests are about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgecls.types import Array

CLASSES = 5


def classifier(
    shape: Sequence[int | str] = (1, 3, 8, 8),
    *,
    opset: int = 18,
    last: str | None = None,
    dtype: type = np.float32,
    outputs: Sequence[str] = ("logits",),
) -> onnx.ModelProto:
    """Convolution, global average, matrix product [-> `last`]. NHWC when the last dimension holds the channels."""
    random = np.random.default_rng(0)
    weights = {"conv": random.standard_normal((4, 3, 3, 3)), "dense": random.standard_normal((4, CLASSES))}
    image = "image"
    nodes = []
    if shape[1] not in (1, 3) and shape[-1] in (1, 3):
        nodes.append(helper.make_node("Transpose", [image], ["nchw"], perm=[0, 3, 1, 2]))
        image = "nchw"
    nodes += [
        helper.make_node("Conv", [image, "conv"], ["maps"], name="conv_0"),
        helper.make_node("Relu", ["maps"], ["features"], name="relu_0"),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"], name="pool_0"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flat_0"),
        helper.make_node("MatMul", ["flat", "dense"], ["scores" if last else "logits"], name="dense_0"),
    ]
    if last:
        nodes.append(helper.make_node(last, ["scores"], ["logits"], name="last_0"))
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("image", elem, list(shape))],
        [helper.make_tensor_value_info(o, elem, [None] * (4 if o == "features" else 2)) for o in outputs],
        [numpy_helper.from_array(v.astype(dtype), k) for k, v in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    (folder / name).write_bytes(model.SerializeToString())
    return folder / name


def externalised(folder: Path, location: str = "weights.data", **entries: str) -> Path:
    """`classifier()` whose convolution weights are said to be at `location`; the caller makes that file."""
    model = classifier()
    tensor = model.graph.initializer[0]
    (folder / "true.data").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location} | entries).items():
        tensor.external_data.add(key=key, value=value)
    return save(model, folder)


def run(model: bytes, image: Array) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    result: list[Array] = session.run(None, {session.get_inputs()[0].name: image})
    return result
