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
        loops = [n for n in workload.spatial if n > 1]
        if workload.family == "elementwise" or not loops:
            return Decision(algorithm="per-row", reason="no reduction: one pass over the rows")
        lanes = target.cpu.vector_bits // 32
        columns = _columns(loops[-1], lanes)
        budget = max(1, target.cpu.vector_registers // 2 // -(-columns // lanes))
        rows = _divisor(loops[-2], budget) if len(loops) > 1 and workload.reuse else 1
        return Decision(algorithm="register-tile", tile=(rows, columns),
                        reason=f"{rows} rows of {columns} floats stay in registers over {workload.reduction}")


def _columns(extent: int, lanes: int) -> int:
    """Up to four vectors: a divisor of the row unless that leaves most lanes empty."""
    exact = _divisor(extent, 4 * lanes)
    return exact if exact >= min(lanes, extent) else min(2 * lanes, extent)


def _divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)
