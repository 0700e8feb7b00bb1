"""Who chooses how a workload is scheduled."""

from __future__ import annotations

from edgecls.backends.tvm.schedule import Decision, Workload
from edgecls.types import Target


class SimpleProvider:
    """The first provider: keep a tile of the output in registers while the reduction runs outside of it.

    Half the vector registers hold the tile, the others operands. Columns are at most four vectors wide, and prefer
    to divide the row; rows share each vector of the operand that does not depend on them.
    """

    def choose(self, workload: Workload, target: Target) -> Decision:
        if workload.family == "elementwise" or workload.columns is None:
            return Decision(algorithm="per-row", reason="no reduction: one pass over the rows")
        lanes = target.cpu.vector_bits // 32
        columns = _columns(workload.spatial[workload.columns], lanes)
        budget = max(1, target.cpu.vector_registers // 2 // -(-columns // lanes))
        rows = 1 if workload.rows is None else _divisor(workload.spatial[workload.rows], budget)
        return Decision(algorithm="register-tile", tile=(rows, columns),
                        reason=f"{rows} x {columns} results stay in registers over {workload.reduction}")


def _columns(extent: int, lanes: int) -> int:
    """Up to four vectors: the divisor of the row that fills its lanes best, the widest of those.

    A row that only narrow tiles divide is cut into two vectors and a remainder instead.
    """
    divisors = [d for d in range(1, min(extent, 4 * lanes) + 1) if extent % d == 0]
    best = max(divisors, key=lambda d: (d / (-(-d // lanes) * lanes), d))
    return best if best >= min(lanes, extent) / 2 else min(2 * lanes, extent)


def _divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)
