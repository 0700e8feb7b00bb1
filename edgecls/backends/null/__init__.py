"""Does nothing, so what is measured on it is the harness's own cost."""

from edgecls.backends.null.backend import NullBackend, NullOptions

__all__ = ["NullBackend", "NullOptions"]
