"""Step 7a: scheduled TIR functions -> one object file, with what the runtime must know of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecls.backends.tvm.align import align
from edgecls.backends.tvm.call_plan import Workspace
from edgecls.backends.tvm.environment import import_tvm
from edgecls.backends.tvm.object_file import write_object
from edgecls.backends.tvm.replace_math import replace_math
from edgecls.errors import InternalError


@dataclass(frozen=True)
class KernelObject:
    """path: relocatable object. symbols: kernel name -> C function `__tvm_ffi_...` in TVM's packed ABI.

    workspaces: by kernel name, each request rounded up to 64.
    """

    path: Path
    symbols: dict[str, str]
    workspaces: dict[str, Workspace]


def build_kernels(functions: dict[str, Any], target: Any, prefix: str, folder: Path) -> KernelObject:
    """functions: kernel name -> scheduled PrimFunc. prefix makes symbols unique among models in one program.

    Raises OutputError when `folder` has no room.
    """
    tvm = import_tvm()
    from tvm.tirx.build import codegen_build

    names = {kernel: f"{prefix}_{index}" for index, kernel in enumerate(functions)}
    named = {k: replace_math(f).with_attr("global_symbol", names[k]) for k, f in functions.items()}
    # shapes are fixed at compile time and the generated wrappers pass exactly these: checks would only cost
    with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        pipeline, host_passes, _ = tvm.tirx.get_default_tir_pipeline(target)
        own = tvm.IRModule({tvm.ir.GlobalVar(names[k]): f for k, f in named.items() if _is_own(f)})
        others = tvm.IRModule({tvm.ir.GlobalVar(names[k]): f for k, f in named.items() if not _is_own(f)})
        module = lower_straight_line(own, target)
        module.update(host_passes()(pipeline(tvm.tirx.transform.BindTarget(target.with_host(target))(others))))
        asked = {g.name_hint: _workspace(f) for g, f in module.functions.items()}
        path = folder / "kernels.o"
        write_object(codegen_build(module, target), path)
    return KernelObject(path=path, symbols={k: f"__tvm_ffi_{n}" for k, n in names.items()},
                        workspaces={k: asked[n] for k, n in names.items()})


def _is_own(function: Any) -> bool:
    return function.attrs is not None and "edgecls.straight_line" in function.attrs


def lower_straight_line(module: Any, target: Any) -> Any:
    """What lowering is left for kernels that are written as instructions: TVM's default takes ten times as long, for
    rewriting loops that these do not have. IRModule -> IRModule for code generation."""
    tvm = import_tvm()
    passes = tvm.tirx.transform
    return tvm.transform.Sequential([
        passes.BindTarget(target.with_host(target)), passes.FlattenBuffer(), passes.NarrowDataType(32),
        passes.StmtSimplify(), passes.VerifyMemory(), passes.AnnotateEntryFunc(), passes.SplitHostDevice(),
        passes.MakePackedAPI(), passes.LowerTVMBuiltin(), passes.LowerIntrin()])(module)


def _workspace(function: Any) -> Workspace:
    """The most that is held at once: outside of parallel loops by the thread that calls, inside by every thread."""
    loops: list[Any] = []
    once = _most_held(function.body, loops)
    return Workspace(once=once, per_thread=max((_most_held(loop, None) for loop in loops), default=0))


def _most_held(statement: Any, loops: list[Any] | None) -> int:
    """Bytes. Requests are given back in reverse order. loops: where parallel loops are put aside; None: enter them."""
    tvm = import_tvm()
    import tvm_ffi

    held: list[int] = []
    most = 0

    def call(node: Any) -> None:
        nonlocal most
        name = getattr(node.op, "name", "")
        if name.endswith("TVMBackendAllocWorkspace"):
            if not isinstance(node.args[2], tvm.tirx.IntImm):
                raise InternalError("a kernel asks for a workspace of unknown size", "report this with the model")
            held.append(align(int(node.args[2])))
            most = max(most, sum(held))
        elif name.endswith("TVMBackendFreeWorkspace"):
            held.pop()

    def loop(node: Any) -> Any:
        if loops is None or node.kind != tvm.tirx.stmt.ForKind.PARALLEL:
            return None
        loops.append(node.body)
        return tvm_ffi.structural.WalkResult.SKIP

    tvm_ffi.structural_walk(statement, [(tvm.tirx.For, loop), (tvm.ir.Call, call)], order="pre")
    return most
