"""Is a bundle for this machine? Asked before any plan is loaded, since plans of another version can crash a library."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgecls.backends.tensorrt.build import INSTALL, LIBRARY_NAMES, Library
from edgecls.backends.tensorrt.driver import GpuFacts
from edgecls.backends.tensorrt.recipe import Recipe
from edgecls.errors import BundleError, MissingExtraError
from edgecls.types import Artifact

_LIBRARIES: dict[str, Library] = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
_AGAIN = {"tensorrt_rtx": "compile the model again with the version of tensorrt-rtx that is installed here",
          "tensorrt": "compile the model again, and finish it on this machine: edgecls finish"}


def check_runnable(artifact: Artifact, device: str) -> Library:
    """The library whose engine it holds, when that can run on `device`. Connects to nothing.

    Raises BundleError (unfinished, not on this machine, another runtime).
    """
    runtime = artifact.manifest.runtime
    if runtime not in _LIBRARIES:
        raise BundleError(f"{artifact.path}: is for the runtime {runtime!r}, which is no TensorRT",
                          "compile the model again with this version of edgecls")
    if not artifact.manifest.finished:
        raise BundleError(f"{artifact.path}: has no engine yet",
                          f"build it on the device with the GPU: edgecls finish {artifact.path}")
    if device != "local":
        raise BundleError(f"{artifact.path}: engines run on the machine edgecls runs on, not on {device}",
                          "log in there, install edgecls[tensorrt,cuda], and run the same command")
    return _LIBRARIES[runtime]


def import_library(artifact: Artifact, library: Library) -> Any:
    """The runtime in exactly the version that made the plan. Raises BundleError, MissingExtraError."""
    try:
        module: Any = import_module(library)
    except Exception as error:  # an ImportError, an OSError of a library it loads, or what the package raises itself
        raise MissingExtraError(f"{LIBRARY_NAMES[library]}, which this bundle is for, cannot be imported: {error}",
                                INSTALL[library]) from None
    made_by = artifact.manifest.toolchain.get(library.replace("_", "-"), "an unknown version")
    if str(module.__version__) != made_by:
        raise BundleError(f"{artifact.path}: its plan was made by {LIBRARY_NAMES[library]} {made_by}, here is "
                          f"{module.__version__}, and a plan opens only in the version it was made by", _AGAIN[library])
    return module


def check_place(artifact: Artifact, recipe: Recipe, gpu: GpuFacts) -> None:
    """The GPU that the plans were built for. Raises BundleError."""
    if gpu.compute_capability != recipe.compute_capability:
        raise BundleError(f"{artifact.path}: is for compute capability {recipe.compute_capability}, and the {gpu.name} "
                          f"here has {gpu.compute_capability}", "compile the model for a target with this GPU")
    if recipe.built_on is not None and recipe.built_on.gpu != gpu.name:
        raise BundleError(f"{artifact.path}: its engine was tuned on a {recipe.built_on.gpu}, here is a {gpu.name}",
                          "compile the model again, and finish it on this machine: edgecls finish")
