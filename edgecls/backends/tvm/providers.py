"""Who chooses how a workload is scheduled."""

from __future__ import annotations

from edgecls.backends.tvm.schedule import Decision, Workload
from edgecls.types import Target


class SimpleProvider:
    """The first provider: keep a tile of the output in registers while the reduction runs outside of it."""

    def choose(self, workload: Workload, target: Target) -> Decision:
        if workload.family == "elementwise" or workload.columns is None:
            return Decision(algorithm="per-row", reason="no reduction: one pass over the rows")
        lanes = target.cpu.vector_bits // 32
        columns = _columns(workload.spatial[workload.columns], lanes)
        rows = 1
        if workload.rows is not None:
            rows = _divisor(workload.spatial[workload.rows], _row_limit(columns, lanes, target.cpu.vector_registers))
        return Decision(algorithm="register-tile", tile=(rows, columns),
                        reason=f"{rows} x {columns} results stay in registers over {workload.reduction}")


def _columns(extent: int, lanes: int) -> int:
    """Two whole vectors, or one, when they divide the extent; else its divisor that fills lanes best.

    Beyond 16 floats LLVM no longer keeps the tile in registers. An extent that only narrow tiles divide (a prime
    number) is cut into two vectors and a remainder instead.
    """
    for whole in (2 * lanes, lanes):
        if whole <= 16 and extent % whole == 0:
            return whole
    divisors = [d for d in range(1, min(extent, 16) + 1) if extent % d == 0]
    best = max(divisors, key=lambda d: (d / (-(-d // lanes) * lanes), d))
    return best if best >= min(lanes, extent) / 2 else min(2 * lanes, extent)


def _row_limit(columns: int, lanes: int, registers: int) -> int:
    """Half the registers for results. Vectors that are not whole spill with more than four rows (seen on both ISAs),
    and from 128 floats on LLVM leaves the tile in memory (seen with AVX-512: 72 GFLOP/s become 2)."""
    if columns > lanes and columns % lanes:
        return min(4, registers // 4)
    return max(1, min(8, registers // 2 // -(-columns // lanes), 127 // columns))


def _divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)
