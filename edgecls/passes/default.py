"""The rewrites that run unless asked otherwise, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edgecls.passes.clean_transposes import clean_transposes
from edgecls.passes.eliminate_nops import eliminate_nops
from edgecls.passes.fold_batch_norm import fold_batch_norm
from edgecls.passes.fold_constants import fold_constants
from edgecls.passes.inline_functions import inline_functions
from edgecls.passes.network import Network
from edgecls.passes.remove_dead_ends import remove_dead_ends
from edgecls.passes.simplify_shapes import simplify_shapes


class Pass(NamedTuple):
    """One rewrite, in place. It must keep the meaning of the graph and the names of its inputs and outputs."""

    name: str
    apply: Callable[[Network], None]


DEFAULT_PASSES: tuple[Pass, ...] = (
    Pass("inline_functions", inline_functions),
    Pass("fold_constants", fold_constants),
    Pass("fold_batch_norm", fold_batch_norm),
    Pass("eliminate_nops", eliminate_nops),
    Pass("clean_transposes", clean_transposes),
    Pass("simplify_shapes", simplify_shapes),
    Pass("remove_dead_ends", remove_dead_ends),
)
