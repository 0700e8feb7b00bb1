"""Lower precision, written into the graph: float16, or int8 as QuantizeLinear/DequantizeLinear pairs.

    set_precision(OptimizedGraph, PrecisionOptions) -> OptimizedGraph

The result is strongly typed ONNX: every tensor has the type it is computed in, and no builder decides anything. So one
graph serves TensorRT 10, 11 and RTX, and ONNX Runtime tells its accuracy before an engine is built. Inputs and outputs
stay float32. The conversions are ONNX Runtime's own (onnxruntime.transformers.float16, onnxruntime.quantization).
"""

from edgecls.passes.precision.options import PrecisionOptions
from edgecls.passes.precision.set_precision import computes_low, set_precision

__all__ = ["PrecisionOptions", "computes_low", "set_precision"]
