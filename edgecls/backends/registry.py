"""Backends by name, imported when asked for."""

from __future__ import annotations

from importlib import import_module

from edgecls.errors import BundleError, EdgeclsError
from edgecls.interfaces import Backend
from edgecls.types import Artifact

BACKENDS: dict[str, str] = {
    "tvm": "edgecls.backends.tvm:TvmBackend",
    "tensorrt": "edgecls.backends.tensorrt:TensorRTBackend",
    "reference": "edgecls.backends.reference:ReferenceBackend",
    "null": "edgecls.backends.null:NullBackend",
}
"""Name -> "module:Class". A new backend is one folder and one line here."""


def get_backend(name: str) -> Backend:
    """Raises EdgeclsError for an unknown name, MissingExtraError when the backend's packages are not installed."""
    if name not in BACKENDS:
        raise EdgeclsError(f"there is no backend {name!r}", f"choose one of: {', '.join(BACKENDS)}")
    module, _, class_name = BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), class_name)()
    return backend


def backend_for(artifact: Artifact) -> Backend:
    """The backend that compiled `artifact`. Raises BundleError when this version has no such backend."""
    name = artifact.manifest.backend
    if name not in BACKENDS:
        raise BundleError(f"{artifact.path}: made by the backend {name!r}, which this version does not have",
                          "compile the model again with this version of edgecls")
    return get_backend(name)
