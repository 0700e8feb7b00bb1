"""What a user decides about precision; the command line derives its flags from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgecls.frozen import Frozen


class PrecisionOptions(Frozen):
    """How the network computes."""

    precision: Annotated[Literal["fp32", "fp16", "int8"], msgspec.Meta(
        description="what the network computes in")] = "fp32"
    calibrate: Annotated[Path | None, msgspec.Meta(
        description="folder of images like those the network will see; needed by int8, which takes the ranges of all "
                    "tensors from them, and taken by --keep-sensitive")] = None
    calibration: Annotated[Literal["minmax", "entropy", "percentile"] | None, msgspec.Meta(
        description="how int8 takes a range from what the images give; minmax unless told")] = None
    keep_fp32: Annotated[tuple[str, ...], msgspec.Meta(
        description="a node that stays float32, by its name in `edgecls explain`, or a pattern such as 'head*'; may be "
                    "repeated")] = ()
    keep_sensitive: Annotated[int, msgspec.Meta(ge=0, le=10_000,
        description="this many layers stay float32 as well: those that alone disturb the output most. Each layer is "
                    "tried, which takes minutes")] = 0
