"""What a user can choose when compiling with TVM."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edgecls.frozen import Frozen


class CompileOptions(Frozen):
    static: Annotated[bool, Meta(description="also store model.o, for linking the model into one program")] = False
    winograd: Annotated[Literal["auto", "off", "f2", "f4", "f6"], Meta(
        description="3x3 convolutions by Winograd's algorithm: where it pays, nowhere, or everywhere with tiles of 2, "
                    "4 or 6")] = "auto"
    growth: Annotated[float, Meta(
        ge=1.0, le=16.0, description="how many times their size in float32 the weights may take, for Winograd")] = 1.3
    strassen: Annotated[Literal["auto", "off", "on"], Meta(
        description="1x1 convolutions and linear layers by Strassen's algorithm: where it pays, nowhere, or wherever "
                    "it can be")] = "auto"
