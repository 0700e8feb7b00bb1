"""What LLVM answers by ending its process is an error like any other here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from edgecls.backends.tvm.environment import import_tvm
from edgecls.backends.tvm.object_file import write_object
from edgecls.errors import InternalError, OutputError


@pytest.fixture(scope="module")
def module() -> Any:
    tvm = import_tvm()
    from tvm import te

    a = te.placeholder((16,), name="a")
    function = te.create_prim_func([a, te.compute((16,), lambda i: a[i] + 1.0)])
    return tvm.compile(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), target="llvm").mod


def test_the_same_bytes_as_tvm_writes(module: Any, tmp_path: Path) -> None:
    write_object(module, tmp_path / "ours.o")
    module.write_to_file(str(tmp_path / "theirs.o"), "o")
    assert (tmp_path / "ours.o").read_bytes() == (tmp_path / "theirs.o").read_bytes()
    with (tmp_path / "ours.o").open("rb") as file:
        assert ELFFile(file)["e_type"] == "ET_REL"


def test_a_full_disk(module: Any, tmp_path: Path) -> None:
    (tmp_path / "kernels.o").symlink_to("/dev/full")
    with pytest.raises(OutputError) as caught:
        write_object(module, tmp_path / "kernels.o")
    assert caught.value.message == f"{tmp_path}: cannot be written: No space left on device"
    assert "TMPDIR" in caught.value.hint


@pytest.mark.parametrize("failure", [lambda: os._exit(3), os.abort, lambda: [][0]])
def test_any_other_end_is_an_error_too(failure: Any, tmp_path: Path) -> None:
    class Broken:
        def write_to_file(self, path: str, form: str) -> None:
            os.write(2, b"LLVM ERROR: Cannot select: t7\n")
            failure()

    with pytest.raises(InternalError, match="Cannot select: t7"):
        write_object(Broken(), tmp_path / "kernels.o")
