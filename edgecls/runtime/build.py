"""Build ec_run and libedgecls from the sources that ship with the package, once per compiler.

Results live in the user's cache folder under a key of everything that decides their bytes, so a second session starts
at once and a changed source or compiler never meets an old program.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from edgecls import __version__
from edgecls.errors import BundleError, InternalError, OutputError
from edgecls.frozen import Frozen
from edgecls.toolchain import Toolchain
from edgecls.types import Arch

C_FOLDER = Path(__file__).with_name("c")
_INCLUDE = f"-I{C_FOLDER / 'include'}"
_CFLAGS = ("-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fvisibility=hidden",
           "-ffunction-sections", "-fdata-sections", f'-DEC_VERSION="{__version__}"')
_LDFLAGS = ("-Wl,-z,relro,-z,now,-z,noexecstack", "-Wl,--gc-sections", "-s")
_PROGRAM = ("ec_run.c", "serve.c", "serve_wire.c")  # not in the library
_LIBS = ("-ldl", "-lpthread", "-lm")
_SYMBOL = re.compile(r"ec_model_([0-9a-f]{32})")


class StaticModel(Frozen):
    """A model to link into ec_run. symbol: `ec_model_<build id>`; name: what `@NAME` calls it.

    archive: the bundle's model.o (or an archive of it); weights: its weights.bin. Both are files on this machine.
    """

    symbol: str
    name: str
    archive: Path
    weights: Path

    @property
    def build_id(self) -> str:
        """32 hex digits. Raises BundleError when the symbol is not a model's."""
        match = _SYMBOL.fullmatch(self.symbol)
        if match is None:
            raise BundleError(f"{self.symbol!r} is not the symbol of a model", "compile the model again")
        return match[1]


def build_runner(arch: Arch, toolchain: Toolchain, *, static_models: Sequence[StaticModel] = ()) -> Path:
    """ec_run for `arch`: dynamic and for any bundle, or static with `static_models` linked in.

    A static program wants find_toolchain(arch, static=True).

    Raises ToolchainError when the compiler fails, BundleError for an unusable model, OutputError when the cache
    folder cannot be written.
    """
    _check_arch(arch, toolchain)
    sources = _sources()
    models = tuple(static_models)
    if len({m.build_id for m in models}) != len(models):
        raise BundleError("a model is linked into the program twice", "name each model once")
    inputs = [digest for m in models for digest in (m.symbol, _file_hash(m.archive), _file_hash(m.weights))]

    def build(folder: Path, output: Path) -> None:
        args = [*_CFLAGS, _INCLUDE, *map(str, sources)]
        if models:
            args += ["-DEC_STATIC_ONLY", "-static", *_write_models(folder, models)]
        toolchain.run([*args, *_LDFLAGS, "-o", output.name, *_LIBS], cwd=folder)

    return _cached("ec_run", toolchain, inputs, build)


def build_library(arch: Arch, toolchain: Toolchain) -> Path:
    """libedgecls.so for `arch`. Raises ToolchainError, OutputError."""
    _check_arch(arch, toolchain)
    sources = [file for file in _sources() if file.name not in _PROGRAM]

    def build(folder: Path, output: Path) -> None:
        toolchain.run([*_CFLAGS, "-fPIC", _INCLUDE, *map(str, sources), "-shared", "-Wl,-soname,libedgecls.so.1",
                       *_LDFLAGS, "-o", output.name, *_LIBS], cwd=folder)

    return _cached("libedgecls.so", toolchain, [], build)


def _write_models(folder: Path, models: Sequence[StaticModel]) -> list[str]:
    """A source and archives that link `models`: a table of them, and each one's weights at `ec_weights_<build id>`."""
    source = ['#include "ec_model.h"']
    for index, model in enumerate(models):
        (folder / f"weights_{index}.bin").symlink_to(model.weights.resolve())
        source.append(_EMBED.format(symbol=f"ec_weights_{model.build_id}", file=f"weights_{index}.bin",
                                    digest=_file_hash(model.weights)))
        source.append(f"extern const ec_model {model.symbol};")
    source.append("extern const ec_model *const ec_static_models[];")
    source.append(f"const ec_model *const ec_static_models[] = {{{''.join(f'&{m.symbol}, ' for m in models)}0}};\n")
    (folder / "models.c").write_text("\n".join(source))
    return ["models.c", *(str(model.archive.resolve()) for model in models)]


# The digest is for compilers that cache by source text (zig cc): .incbin hides the bytes from them.
_EMBED = r"""
__asm__(".pushsection .rodata.{symbol}, \"a\"\n" /* {digest} */
        ".balign 64\n"
        ".globl {symbol}\n"
        ".hidden {symbol}\n"
        "{symbol}:\n"
        ".incbin \"{file}\"\n"
        ".balign 64\n"
        ".popsection\n");"""


def _cached(name: str, toolchain: Toolchain, inputs: Sequence[str], build: Callable[[Path, Path], None]) -> Path:
    """The cached result of `build(folder, folder / name)`. Processes that build at once each rename a whole file."""
    key = hashlib.sha256()
    parts = [name, *toolchain.cc, toolchain.version, toolchain.arch, *_CFLAGS, *_LDFLAGS, _EMBED, *inputs]
    for file in sorted(C_FOLDER.rglob("*.[ch]")):
        parts += [file.name, _file_hash(file)]
    for part in parts:
        key.update(part.encode() + b"\0")
    home = cache_folder() / "runtime" / f"{toolchain.arch}-{key.hexdigest()[:32]}"
    if (home / name).is_file():
        return home / name
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".build-", dir=home))
        try:
            build(folder, folder / name)
            with (folder / name).open("rb") as made:
                os.fsync(made.fileno())
            (folder / name).replace(home / name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{home}: cannot keep {name}: {error.strerror or error}",
                          "make room there, or set XDG_CACHE_HOME to a folder you can write") from None
    return home / name


def cache_folder() -> Path:
    """Where edgecls keeps what it can make again: XDG_CACHE_HOME/edgecls, or ~/.cache/edgecls.

    Raises OutputError for a user without a home.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not root.is_absolute():  # the XDG specification says that a relative path is to be ignored
        try:
            root = Path.home() / ".cache"
        except RuntimeError:
            raise OutputError("this user has no home folder to keep built programs in",
                              "set XDG_CACHE_HOME to a folder you can write") from None
    return root / "edgecls"


def _sources() -> list[Path]:
    found = sorted((C_FOLDER / "src").glob("*.c"))
    if not found:
        raise InternalError(f"the C sources in {C_FOLDER} are missing", "install edgecls again")
    return found


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
            return digest.hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}", "unpack the bundle again") from None


def _check_arch(arch: Arch, toolchain: Toolchain) -> None:
    if toolchain.arch != arch:
        raise InternalError(f"a compiler for {toolchain.arch} was chosen for {arch}",
                            "report this with the command you ran")
