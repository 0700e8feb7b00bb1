"""Every error a user can cause carries its next step.

    EdgeclsError             exit code 2: what was asked for cannot be done
    ├── ModelError           the network file: not ONNX, truncated, float64 weights, dynamic shape
    ├── UnsupportedError     a node that the chosen backend cannot compile
    ├── ContractError        preprocessing, labels or output meaning that cannot be executed
    ├── TargetError          unknown target, mistake in a target file
    ├── DataError            an image or a data set that cannot be read
    ├── BundleError          not a bundle, damaged, for another device or another runtime
    ├── DeviceError          the device does not answer, refuses, or lacks something
    ├── ToolchainError       no compiler or emulator, or it failed
    ├── MissingExtraError    an optional package is not installed
    ├── OutputError          a result cannot be written
    └── InternalError        exit code 1: a mistake in edgecls itself
"""

from __future__ import annotations

from typing import ClassVar


class EdgeclsError(Exception):
    """Something the user can act on.

    message: one sentence that names the thing (file, node, key) and what is wrong with it.
    hint: the next step, as an imperative sentence.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}"

    def __reduce__(self) -> tuple[type[EdgeclsError], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class ModelError(EdgeclsError):
    """The network file cannot be used."""


class UnsupportedError(EdgeclsError):
    """A node that the chosen backend cannot compile."""


class ContractError(EdgeclsError):
    """Preprocessing, labels or output meaning that cannot be executed."""


class TargetError(EdgeclsError):
    """Unknown target, or a mistake in a target file."""


class DataError(EdgeclsError):
    """An image or a data set that cannot be read."""


class BundleError(EdgeclsError):
    """Not a bundle, damaged, or made for something else."""


class DeviceError(EdgeclsError):
    """The device does not answer, refuses, or lacks something."""


class ToolchainError(EdgeclsError):
    """A compiler or emulator is missing or failed."""


class MissingExtraError(EdgeclsError):
    """An optional package is not installed."""

    @classmethod
    def for_package(cls, package: str, extra: str) -> MissingExtraError:
        return cls(f"the package '{package}' is not installed", f"run: pip install 'edgecls[{extra}]'")


class OutputError(EdgeclsError):
    """A result cannot be written."""


class InternalError(EdgeclsError):
    """A mistake in edgecls itself."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """What a library's error says, at most 300 characters, without the pages that follow."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
