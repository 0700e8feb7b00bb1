"""Step 5, schedule: how each kernel's loops run. The seam that faster code generation plugs into.

    describe_workload(kernel) -> Workload -> ScheduleProvider.choose -> Decision -> apply_decision -> scheduled TIR
"""

from __future__ import annotations

from typing import Literal, Protocol

from edgecls.frozen import Frozen
from edgecls.types import Target

Family = Literal["contraction", "reduction", "elementwise"]


Algorithm = Literal["direct", "winograd-f2", "winograd-f4", "winograd-f6", "strassen", "depthwise", "grouped",
                    "pooling", "mean", "elementwise", "channels", "norm", "gather", "attention", "matmul", "convert",
                    "register-tile", "per-row", "default"]


class Workload(Frozen):
    """One kernel in numbers.

    family: contraction (a reduction over a product: convolution, matrix product), reduction (sum, max, mean) or
    elementwise. shapes: of every argument. spatial, reduction: loop extents of the block that does most of the work,
    outermost first. columns: index of the spatial loop that becomes the vector; rows: of the one to unroll beside it,
    None when there is none. flops: 2 x multiply-adds.
    """

    kernel: str
    family: Family
    shapes: tuple[tuple[int, ...], ...]
    spatial: tuple[int, ...]
    reduction: tuple[int, ...]
    columns: int | None
    rows: int | None
    flops: int


class Decision(Frozen):
    """How to schedule a workload: plain data, so it can be stored and replayed.

    tile: (rows, columns) of the register tile, taken from the workload's spatial loops of these names; columns are
    the vector. strip: tiles of a Winograd convolution that one task takes; rows of outputs of a direct one that go
    through the input channels block by block, or 0. chunk: input channels whose weights a Winograd kernel transforms
    at a time, 0: they are transformed when compiling; of a direct convolution with a kernel of one pixel, those that
    all pixels go through together, or 0.
    predicted_us: of the cost model, one core. error: largest difference to direct convolution over the largest result,
    measured on random input. reason: for `explain`.
    """

    algorithm: Algorithm
    layout: str = "NCHW"
    tile: tuple[int, int] = (1, 1)
    strip: int = 0
    chunk: int = 0
    predicted_us: float | None = None
    error: float | None = None
    reason: str = ""

    @property
    def code(self) -> tuple[object, ...]:
        """What the kernel's code depends on: layers that differ in the rest share it."""
        return self.algorithm, self.layout, self.tile, self.strip, self.chunk


class ScheduleProvider(Protocol):
    def choose(self, workload: Workload, target: Target) -> Decision: ...
