"""float32 -> int8 as QuantizeLinear/DequantizeLinear pairs, in the form that TensorRT takes.

Symmetric on both sides (zero point 0), weights per output channel, biases float32. Quantised are convolutions and
matrix products, where the multiplications are; everything between them stays float32. Their inputs are quantised and
their outputs not: a pair between a convolution and its activation would keep the two from being fused, and would spend
the 256 steps on values that the activation cuts off.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import onnx

from edgecls.errors import ModelError, first_line
from edgecls.oracle import import_onnxruntime
from edgecls.output import work_folder
from edgecls.types import Array

Method = Literal["minmax", "entropy", "percentile"]
QUANTIZED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_CHUNK = 4
"""Feeds whose intermediate results are held at once: all of a network's activations, each time."""


def calibrate(model: onnx.ModelProto, feeds: Iterator[Mapping[str, Array]], method: Method) -> Any:
    """onnxruntime.quantization's TensorsData: the range of every tensor that is quantised. Raises ModelError.

    minmax: what was seen. entropy: the range whose quantised histogram diverges least (Kullback-Leibler), after
    TensorRT's calibrator. percentile: 99.999 % of what was seen.
    """
    import_onnxruntime()
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    methods = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy,
               "percentile": CalibrationMethod.Percentile}
    with work_folder() as folder, _quiet():
        path = folder / "model.onnx"
        onnx.save_model(model, path)
        try:
            calibrator: Any = create_calibrator(path, list(QUANTIZED), str(folder / "augmented.onnx"), methods[method],
                                                extra_options={"symmetric": True})
            while chunk := [feed for _, feed in zip(range(_CHUNK), feeds, strict=False)]:
                calibrator.collect_data(_Reader(chunk))
            return calibrator.compute_data()
        except ValueError as error:  # of numpy's histogram, over values that are not finite
            raise ModelError(f"the network cannot be calibrated: {first_line(error)}",
                             "check that it gives finite answers for these images: edgecls run") from None


def to_int8(model: onnx.ModelProto, ranges: Any, keep: Collection[str] = ()) -> onnx.ModelProto:
    """`model` with its convolutions and matrix products in int8, except the nodes named in `keep`. Uses `model` up.

    ranges: of calibrate(), on the same network at any batch size.
    """
    import_onnxruntime()
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    nodes = [n.name for n in model.graph.node if n.op_type in QUANTIZED and n.name not in keep]
    if not nodes:
        return model
    with _quiet():
        quantizer: Any = QDQQuantizer(
            model, per_channel=True, reduce_range=False, weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8, tensors_range=copy.deepcopy(ranges), nodes_to_quantize=nodes,
            nodes_to_exclude=[], op_types_to_quantize=list(QUANTIZED),
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
                           "OpTypesToExcludeOutputQuantization": list(QUANTIZED)})
        quantizer.quantize_model()
    quantizer.model.topological_sort()  # it appends what it adds at the end
    result: onnx.ModelProto = quantizer.model.model
    return result


class _Reader:
    """onnxruntime.quantization.CalibrationDataReader of some feeds."""

    def __init__(self, feeds: Sequence[Mapping[str, Array]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._feeds, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Its advice goes to Python's root logger, and histograms to standard output."""
    level = logging.root.level
    logging.root.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.root.setLevel(level)
