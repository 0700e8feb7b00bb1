"""The recipe: all that building the engines again takes beside the graphs themselves (the member recipe.json)."""

from __future__ import annotations

import msgspec

from edgecls.bundle import read_member
from edgecls.errors import BundleError
from edgecls.frozen import Frozen, decode_json
from edgecls.types import Artifact

MEMBER = "recipe.json"
RECIPE_VERSION = 1


class BuiltOn(Frozen):
    """The machine whose GPU an engine was built and tuned on."""

    gpu: str
    compute_capability: str
    driver: str


class Part(Frozen):
    """One graph and its engine. network, plan: bundle members, null where the bundle does not hold them.

    evidence_bytes, evidence_sha256: of a plan of TensorRT-RTX that was built for its layers, and is not kept, since it
    does not run on this GPU. network_sha256: of the ONNX graph.
    profiles: input -> shape for each batch size, when one engine serves several.
    network_types, engine_types: layers by the precision they make, or compute in; what an engine has is told by
    batch size. activation_bytes: planned memory.
    """

    batches: tuple[int, ...]
    network_sha256: str
    profiles: tuple[dict[str, tuple[int, ...]], ...] = ()
    network: str | None = None
    plan: str | None = None
    evidence_bytes: int | None = None
    evidence_sha256: str | None = None
    network_layers: int | None = None
    network_types: dict[str, int] = {}
    engine_layers: dict[str, int] = {}
    engine_types: dict[str, dict[str, int]] = {}
    activation_bytes: int = 0


class Recipe(Frozen):
    """strongly_typed: the graphs fix every type, so a builder takes no precision flags (TensorRT 10, 11 and RTX).

    tf32: whether float32 products may be TF32. compute_capability: of the GPU the engines are for. built_on: null while
    they were not built on a GPU. evidence: what is known of fusion without that GPU, in words.
    """

    parts: tuple[Part, ...]
    compute_capability: str
    strongly_typed: bool = True
    tf32: bool = False
    built_on: BuiltOn | None = None
    evidence: str = ""
    version: int = RECIPE_VERSION


def read_recipe(artifact: Artifact) -> Recipe:
    """Raises BundleError for a recipe that this version cannot follow."""
    try:
        recipe = decode_json(read_member(artifact, MEMBER), Recipe)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{artifact.path}: its recipe cannot be read by this version: {error}",
                          "compile the model again with this version of edgecls") from None
    if recipe.version != RECIPE_VERSION or not recipe.strongly_typed:
        raise BundleError(f"{artifact.path}: recipe version {recipe.version}, this version follows {RECIPE_VERSION}",
                          "compile the model again with this version of edgecls")
    served = sorted(batch for part in recipe.parts for batch in part.batches)
    if served != list(artifact.manifest.batches):
        raise BundleError(f"{artifact.path}: its recipe serves the batch sizes {served}, not those of its manifest",
                          "compile the model again with this version of edgecls")
    return recipe
