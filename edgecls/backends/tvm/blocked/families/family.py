"""What a family is: it plans a group's kernel; the rewriting puts the kernel into the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.groups import Group
from edgecls.backends.tvm.blocked.simd import Simd
from edgecls.backends.tvm.blocked.window import Window
from edgecls.backends.tvm.schedule import Decision
from edgecls.types import Array, Cpu


@dataclass(frozen=True)
class Plan:
    """One kernel and what it is called with.

    stem: begins its name. arguments: in front of the epilogue's operands: tensors from Tensors.block or plain, and
    arrays of packed weights. emit: writes the code. key: groups of equal stem, key and epilogue share the code.
    in_place: every element of the result is computed once, so that it may replace the epilogue's operand there.
    """

    stem: str
    decision: Decision
    arguments: tuple[Any, ...]
    emit: Callable[[Simd, Epilogue], Any]
    key: tuple[Any, ...]
    multiply_adds: int = 0
    in_place: bool = False


class Tensors(Protocol):
    """The network's tensors in both forms. lanes: float32 per vector."""

    lanes: int
    cpu: Cpu

    def block(self, variable: Any) -> Any:
        """The blocked form, converted where it is not there yet."""

    def plain(self, variable: Any) -> Any:
        """The form the network has, NCHW."""

    def is_blocked(self, variable: Any) -> bool: ...

    def image(self, variable: Any) -> tuple[int, int, int, int]:
        """Images, channels, height, width."""

    def chosen(self, found: Group) -> tuple[Window, Array, Decision]:
        """Of a convolution: its geometry, its OIHW weights and its algorithm."""


Family = Callable[[Group, Tensors], Plan]
