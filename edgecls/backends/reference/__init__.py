"""ONNX Runtime on this machine: the oracle that other backends are compared with."""

from edgecls.backends.reference.backend import ReferenceBackend, ReferenceOptions
from edgecls.backends.reference.session import reference_session

__all__ = ["ReferenceBackend", "ReferenceOptions", "reference_session"]
