"""What follows a kernel's own sums, with the tensors it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgecls.backends.tvm.blocked.expression import (
    TILE,
    Apply,
    Expression,
    Operand,
    contains,
    evaluate,
    has_polynomials,
    operands,
    simplified,
    substitute,
)
from edgecls.backends.tvm.blocked.simd import Expr, Simd


@dataclass(frozen=True)
class Epilogue:
    """bias: the operand that the sums start from. operands: every tensor, in the order of the kernel's parameters."""

    expression: Expression = TILE
    bias: Operand | None = None
    operands: tuple[Operand, ...] = ()
    channel_blocks: int = 1

    @staticmethod
    def of(expression: Expression, channel_blocks: int, sums: bool) -> Epilogue:
        """Sums that are always used plus one and the same vector per channel start from that vector. sums: whether the
        kernel has such sums."""
        expression = simplified(expression)
        needed = tuple(operands(expression))
        for operand in needed if sums else ():
            for sum_ in (Apply("add", (TILE, operand)), Apply("add", (operand, TILE))):
                if operand.spread == "channel" and not contains(substitute(expression, sum_, operand), TILE):
                    return Epilogue(substitute(expression, sum_, TILE), operand, needed, channel_blocks)
        return Epilogue(expression, None, needed, channel_blocks)

    @property
    def is_long(self) -> bool:
        """Evaluates polynomials, and reads nothing that the result may overwrite."""
        return has_polynomials(self.expression) and all(o.spread != "full" for o in self.operands)

    def parameters(self, simd: Simd, channels: int, images: int, pixels: int) -> list[Any]:
        """Buffers of the operands. channels: with the last block's padding."""
        sizes = {"full": images * channels * pixels, "channel": channels, "image": images * channels}
        return [simd.parameter(f"operand{o.number}", sizes[o.spread]) for o in self.operands]

    def start(self, simd: Simd, buffers: Sequence[Any], vector: Expr) -> Expr:
        """What the sums of one vector of channels begin with."""
        if self.bias is None:
            return simd.number(0.0)
        return simd.bind(simd.load(buffers[self.operands.index(self.bias)], vector * simd.lanes), "bias")

    def apply(self, simd: Simd, tile: Expr, buffers: Sequence[Any], vector: Expr, image: Expr, place: Expr) -> Expr:
        """vector: number of the vector of channels. place: of the result, in floats."""

        def load(operand: Operand) -> Expr:
            buffer = buffers[self.operands.index(operand)]
            at = {"full": place, "channel": vector * simd.lanes,
                  "image": (image * self.channel_blocks + vector) * simd.lanes}[operand.spread]
            return simd.load(buffer, at)

        return evaluate(simd, self.expression, tile, load)
