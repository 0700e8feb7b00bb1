"""What a user decides about TensorRT."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgecls.frozen import Frozen


class TensorRTOptions(Frozen):
    """How the engine is made."""

    evidence: Annotated[bool, msgspec.Meta(
        description="for a GPU that TensorRT-RTX can build for but does not run on, build its plan all the same: it "
                    "shows how layers fuse, and runs nowhere")] = True
    tf32: Annotated[bool, msgspec.Meta(
        description="let products in float32 round their factors to TF32's 10 bits of mantissa: faster on compute "
                    "capability 8.0 and newer, and no longer float32")] = False
    separate: Annotated[bool, msgspec.Meta(
        description="one engine for each batch size, each with its own copy of the weights")] = False
