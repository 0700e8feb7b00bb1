"""What a user can choose when compiling with TVM."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgecls.frozen import Frozen


class CompileOptions(Frozen):
    static: Annotated[bool, Meta(description="also store model.o, for linking the model into one program")] = False
