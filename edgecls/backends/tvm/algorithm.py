"""Step 3, algorithm: how an operator is computed, where Relax offers more than one way.

Convolutions are direct. Batch normalisation becomes multiply and add. Gather reads inside its tensor whatever the
indices are: the importer asks for the unchecked mode, in which an index that comes from data reads any memory.
"""

from __future__ import annotations

from typing import Any

from edgecls.backends.tvm.environment import import_tvm


def choose_algorithms(module: Any) -> Any:
    """IRModule -> IRModule of operators that can be legalised."""
    tvm = import_tvm()
    from tvm import relax

    @relax.expr_functor.mutator
    class Clipper(relax.PyExprMutator):  # type: ignore[misc, unused-ignore]
        def visit_call_(self, call: Any) -> Any:
            call = self.visit_expr_post_order(call)
            if getattr(call.op, "name", "") != "relax.take" or call.attrs.mode != "fast":
                return call
            axis = None if call.attrs.axis is None else int(call.attrs.axis)
            return relax.op.take(call.args[0], call.args[1], axis=axis, mode="clip")

    clipped = Clipper(module).visit_expr(module["main"])
    module = type(module)(dict(module.functions.items()), attrs=module.attrs)
    module["main"] = clipped
    return tvm.transform.Sequential([relax.transform.DecomposeOpsForInference(),
                                     relax.transform.CanonicalizeBindings()])(module)
