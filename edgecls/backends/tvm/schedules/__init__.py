"""Decisions become loops: `prepare` inlines, `register_tile` and `per_row` order, vectorise and parallelise."""

from edgecls.backends.tvm.schedules.apply import apply_decision
from edgecls.backends.tvm.schedules.describe import describe_workload

__all__ = ["apply_decision", "describe_workload"]
