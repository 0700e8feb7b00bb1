"""Transposes that cancel, do nothing, or that the matrix product can do itself."""

from __future__ import annotations

from edgecls.passes.library import rewrite
from edgecls.passes.network import Network


def clean_transposes(network: Network) -> None:
    """Merge consecutive transposes, remove identities, set Gemm's transA and transB."""
    rewrite(network, ["fuse_consecutive_transposes", "eliminate_nop_transpose", "fuse_transpose_into_gemm"])
