"""NVIDIA GPUs through TensorRT: one strongly typed ONNX graph, built ahead of time for RTX or finished on the device.

    network (one graph for all batch sizes where it can be) -> build (worker.py, a process of its own) -> inspection
    (which nodes became one engine layer) -> bundle: plan or ONNX, with its recipe -> finish -> session

Nothing here imports TensorRT but worker.py, which runs apart, and session.py, on a machine with a GPU.
"""

from edgecls.backends.tensorrt.backend import TensorRTBackend
from edgecls.backends.tensorrt.options import TensorRTOptions

__all__ = ["TensorRTBackend", "TensorRTOptions"]
