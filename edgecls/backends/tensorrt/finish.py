"""Build the engines of a bundle on the machine with its GPU, with the TensorRT 10 or 11 that is installed there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from edgecls.backends.tensorrt.answers import Built, Facts, GpuFound
from edgecls.backends.tensorrt.assemble import describe_all, make_part, plan_facts
from edgecls.backends.tensorrt.build import INSTALL, Place, build, facts, no_gpu
from edgecls.backends.tensorrt.network import Network
from edgecls.backends.tensorrt.recipe import MEMBER, BuiltOn, Part, Recipe, read_recipe
from edgecls.bundle import read_member, write_bundle
from edgecls.errors import BundleError, EdgeclsError, MissingExtraError
from edgecls.frozen import encode_json, sha256
from edgecls.interfaces import Device, Progress
from edgecls.output import write_beside
from edgecls.read import read_regular
from edgecls.runtime.feed import at_batch
from edgecls.types import Artifact

SUPPORTED = ("10.", "11.")
_MAX_CACHE = 256 << 20


def finish_bundle(artifact: Artifact, device: Device, output: Path, progress: Progress) -> Artifact:
    """Raises BundleError (needs no finishing, or another GPU), DeviceError, MissingExtraError, ToolchainError."""
    recipe = read_recipe(artifact)
    if artifact.manifest.finished:
        raise BundleError(f"{artifact.path}: its engines are built already", "run it, or compile the model again")
    place = Place(device)
    here = facts(place)
    gpu = here.gpu
    _check_gpu(recipe, gpu, place)
    version = _check_tensorrt(here, place)
    cache_file = cache_folder() / cache_name(gpu.name, here.driver, version)
    cache = _read_cache(cache_file)
    members = {n: read_member(artifact, n) for n in artifact.manifest.members}
    networks, builds, parts = [], [], []
    for index, part in enumerate(recipe.parts):
        network = _network(artifact, part, members)
        built, plan, cache = build(network, "tensorrt", capability=None, tf32=recipe.tf32, cache=cache,
                                   place=place, progress=progress)
        members[f"plan_{index}.bin"] = plan
        networks.append(network)
        builds.append(built)
        parts.append(make_part(network, built, {"network": str(part.network), "plan": f"plan_{index}.bin"}))
    if cache:
        _keep_cache(cache_file, cache, progress)
    recipe = msgspec.structs.replace(recipe, parts=tuple(parts), evidence="", built_on=BuiltOn(
        gpu=gpu.name, compute_capability=gpu.compute_capability, driver=here.driver))
    return _write(artifact, output, members, recipe, networks, builds)


def cache_folder() -> Path:
    """timing_caches/ beside tuning_logs/ in a clone; in an installation, of the user's caches."""
    clone = Path(__file__).parents[3]
    if (clone / "tuning_logs").is_dir() and os.access(clone, os.W_OK):
        return clone / "timing_caches"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "edgecls" / "timing_caches"


def cache_name(gpu: str, driver: str, version: str) -> str:
    """Timings hold for one GPU, driver and TensorRT version; the name is made of plain characters alone."""
    return "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.") or "unknown"
                    for text in (gpu, driver, f"tensorrt-{version}"))[:200] + ".cache"


def _check_gpu(recipe: Recipe, gpu: GpuFound, place: Place) -> None:
    if gpu.missing:
        raise no_gpu(gpu.missing, place)
    if gpu.compute_capability != recipe.compute_capability:
        raise BundleError(f"{place.name} has a {gpu.name} of compute capability {gpu.compute_capability}, "
                          f"and the bundle is for {recipe.compute_capability}",
                          "compile the model for that GPU's target")


def _check_tensorrt(here: Facts, place: Place) -> str:
    """Its version."""
    found = here.tensorrt
    if found.missing:
        raise MissingExtraError(f"TensorRT cannot be loaded on {place.name}: {found.missing}", INSTALL["tensorrt"])
    if not found.version.startswith(SUPPORTED):
        raise MissingExtraError(f"{place.name} has TensorRT {found.version}, and engines are built with 10 or 11",
                                INSTALL["tensorrt"])
    return found.version


def _network(artifact: Artifact, part: Part, members: dict[str, bytes]) -> Network:
    onnx = members.get(part.network or "")
    if onnx is None or sha256(onnx) != part.network_sha256:
        raise BundleError(f"{artifact.path}: its recipe and its graphs do not belong together",
                          "compile the model again with this version of edgecls")
    manifest = artifact.manifest
    smallest, first = manifest.batches[0], part.batches[0]
    return Network(onnx, part.batches, *(tuple(at_batch(spec, first, smallest) for spec in specs)
                                         for specs in (manifest.inputs, manifest.outputs)))


def _write(artifact: Artifact, output: Path, members: dict[str, bytes], recipe: Recipe, networks: list[Network],
           builds: list[Built]) -> Artifact:
    manifest = artifact.manifest
    rows = describe_all(networks, builds, manifest.batches)
    toolchain = {**manifest.toolchain, "tensorrt": builds[0].version}
    toolchain.pop("tensorrt-rtx", None)
    manifest = msgspec.structs.replace(
        manifest, layers=tuple(rows), plans=plan_facts(recipe.parts, rows, manifest.batches), toolchain=toolchain)
    return write_bundle(output, manifest, {**members, MEMBER: encode_json(recipe, indent=True)})


def _read_cache(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_CACHE)
    except OSError:
        return b""


def _keep_cache(path: Path, cache: bytes, progress: Progress) -> None:
    """It saves minutes next time, and is worth no failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_beside(path, [cache])
    except (OSError, EdgeclsError):
        progress(f"the timing cache cannot be written to {path.parent}", 1, 1)
