"""One Decision on one function. What a function's shape does not allow is left in TVM's order, and said."""

from __future__ import annotations

from typing import Any

import msgspec

from edgecls.backends.tvm.schedule import Decision
from edgecls.backends.tvm.schedules.per_row import per_row
from edgecls.backends.tvm.schedules.prepare import blocks, prepare, schedule_error, try_schedule
from edgecls.backends.tvm.schedules.register_tile import register_tile


def apply_decision(function: Any, decision: Decision) -> tuple[Any, Decision]:
    """Scheduled PrimFunc, and the decision as it was carried out."""
    if decision.algorithm == "default" or not blocks(prepare(function)):
        return function, msgspec.structs.replace(decision, algorithm="default", tile=(1, 1))
    schedule, taken = prepare(function), set()
    if decision.algorithm == "register-tile":
        try:
            taken = register_tile(schedule, decision.tile)
        except schedule_error():
            # half-applied primitives cannot be undone: start again
            schedule = prepare(function)
    done = decision
    if decision.algorithm == "register-tile" and not taken:
        done = msgspec.structs.replace(decision, algorithm="per-row", tile=(1, 1),
                                       reason="the result is not consumed tile by tile")
    for block in blocks(schedule):
        if block.name not in taken and "_init" not in block.name and "_update" not in block.name:
            try_schedule(lambda b=block: per_row(schedule, b))
    return schedule.mod["main"], done
