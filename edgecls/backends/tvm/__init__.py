"""Apache TVM ahead of time: import, fuse, schedule, plan, and emit one shared object that needs only libc.

    importer -> layout -> algorithm -> fuse -> schedule (providers, schedules/) -> call_plan, memory_plan
             -> kernels, glue, link -> bundle

`compile.py` runs these in order. TVM is imported when a method is called, never before.
"""

from __future__ import annotations

from pathlib import Path

from edgecls.backends.tvm.options import CompileOptions
from edgecls.interfaces import Device, Progress, Session, silent
from edgecls.types import Artifact, OptimizedGraph, PrecisionName, Target, Unsupported


class TvmBackend:
    """The `tvm` backend of edgecls.interfaces.Backend."""

    name = "tvm"
    options_type = CompileOptions
    precisions: tuple[PrecisionName, ...] = ("fp32",)

    def check(self, graph: OptimizedGraph, target: Target) -> list[Unsupported]:
        from edgecls.backends.tvm.check import check_graph

        return check_graph(graph, target)

    def compile(self, graph: OptimizedGraph, target: Target, options: CompileOptions, output: Path,
                progress: Progress = silent) -> Artifact:
        from edgecls.backends.tvm.compile import compile_bundle

        return compile_bundle(graph, target, options, output, progress)

    def open_session(self, artifact: Artifact, device: Device, threads: int = 1) -> Session:
        from edgecls.runtime.serve import open_serve_session

        return open_serve_session(artifact, device, threads)
