"""What worker.py answers, with a bound on every text and number: the machine that it ran on may be anyone's."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from edgecls.frozen import Frozen

MAX_BYTES = 1 << 34
Text = Annotated[str, msgspec.Meta(max_length=1000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
Blob = Annotated[int, msgspec.Meta(ge=0, le=MAX_BYTES)]


class GpuFound(Frozen):
    """missing: why there is none to use, in words; "" when there is one. cuda: the newest the driver serves."""

    missing: Text = ""
    name: Text = ""
    compute_capability: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,2}\.[0-9])?\Z")] = ""
    memory_mb: Count = 0
    cuda: Text = ""

    def __post_init__(self) -> None:
        if not self.missing and not (self.name and self.compute_capability):
            raise ValueError("a GPU without a name or a compute capability")


class LibraryFound(Frozen):
    """missing: why it cannot be loaded, in words; "" when it can."""

    missing: Text = ""
    version: Text = ""

    def __post_init__(self) -> None:
        if not self.missing and not self.version:
            raise ValueError("a library without a version")


class Facts(Frozen):
    """driver: of the kernel module, or the release of a Jetson's software; "" where that is not told."""

    gpu: GpuFound
    tensorrt: LibraryFound
    tensorrt_rtx: LibraryFound
    driver: Text = ""
    machine: Text = ""
    python: Text = ""


class Checked(Frozen):
    network_layers: Count
    version: Text


class Loaded(Frozen):
    profiles: Count
    version: Text


class Built(Frozen):
    """What a build gives beside the plan. network_types: network layers by the type of their first output.

    layers, inspector: the builder's table of engine layers, from its log, or one of EngineInspector for each profile.
    memory: bytes of activation and weights, by the builder's own count.
    """

    version: Text
    seconds: Annotated[float, msgspec.Meta(ge=0, le=1e9)]
    network_layers: Count
    network_types: Annotated[dict[Text, Count], msgspec.Meta(max_length=100)]
    layers: str
    memory: Annotated[dict[Text, Bytes], msgspec.Meta(max_length=100)]
    inspector: Annotated[list[str], msgspec.Meta(max_length=1000)]
    plan_bytes: Blob
    cache_bytes: Blob = 0


class Refusal(Frozen):
    """kind: see worker.Refused. details: the library's own words, or its parser's errors {code, node, op, reason}."""

    kind: Text
    message: str
    details: list[Any]


class Answer(Frozen):
    """One line: exactly one of its fields is there. progress: (stage, done, total)."""

    progress: tuple[Text, Count, Count] | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: Refusal | None = None
