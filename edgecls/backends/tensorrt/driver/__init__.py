"""The few calls of the CUDA driver that a session makes, behind one interface with two implementations.

The default is cuda-bindings, NVIDIA's own: it comes as wheels for x86-64 and aarch64, follows each CUDA release, and
imports without a driver, so that a missing one is an error message. pycuda serves where it is installed already, as on
older JetPacks; it must be built against a CUDA toolkit.
"""

from edgecls.backends.tensorrt.driver.interface import Driver, GpuFacts, Handle, PinnedBuffer, open_driver

__all__ = ["Driver", "GpuFacts", "Handle", "PinnedBuffer", "open_driver"]
