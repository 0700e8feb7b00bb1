"""What stands in the way of compiling, without compiling."""

from __future__ import annotations

import os
from pathlib import Path

from edgecls.backends.tvm import fuse
from edgecls.backends.tvm.blocked.rewrite import Rewritten
from edgecls.backends.tvm.call_plan import read_plan
from edgecls.backends.tvm.environment import tvm_target
from edgecls.backends.tvm.lower import import_network, legalize
from edgecls.backends.tvm.weights import WeightStore
from edgecls.errors import UnsupportedError
from edgecls.types import OptimizedGraph, Target, Unsupported


def check_graph(graph: OptimizedGraph, target: Target) -> list[Unsupported]:
    """Every step up to the plan, for the smallest batch, with TVM's operators throughout: the blocked families replace
    only what TVM has code for, so what they take needs no kernel to be known as supported."""
    batch, llvm = graph.batches[0], tvm_target(target)
    module, network = import_network(graph.onnx[batch])
    if network.unsupported:
        return list(network.unsupported)
    plain = Rewritten(module, owner={variable: (node,) for variable, node in network.owner.items()})
    legal = legalize(plain, network, llvm)
    if legal.unsupported:
        return list(legal.unsupported)
    try:
        with WeightStore(Path(os.devnull)) as store:
            read_plan(fuse.fuse(legal.module, plain.owner, llvm), batch, store)
    except UnsupportedError as error:
        return [Unsupported(node="the network", op="graph", reason=error.message)]
    return []
