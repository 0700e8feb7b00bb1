"""Where an artifact runs: this machine, an emulated CPU, or a board over ssh."""

from __future__ import annotations

import os
from pathlib import Path

from edgecls.devices.local import LocalDevice, host_lacks
from edgecls.devices.qemu import Block, QemuDevice
from edgecls.devices.ssh import SshAddress, SshDevice
from edgecls.errors import DeviceError
from edgecls.interfaces import PATIENCE_S, Device
from edgecls.types import Target

__all__ = ["Block", "LocalDevice", "QemuDevice", "SshAddress", "SshDevice", "host_lacks", "open_device"]


def open_device(spec: str | None, target: Target, patience_s: float = PATIENCE_S) -> Device:
    """The device to run code for `target` on; use it as a context manager. patience_s: see Device.

    spec None: this machine when it has the target's ISA and features, else qemu. "local" | "qemu" |
    "ssh://[user@]host[:port]" (EDGECLS_SSH_CONFIG names a file to use in place of the user's ssh configuration).
    Raises DeviceError when it cannot be used or cannot run the target's code.
    """
    device = _open(spec, target)
    device.patience_s = patience_s
    return device


def _open(spec: str | None, target: Target) -> LocalDevice | SshDevice:
    lacks = host_lacks(target)
    if spec is None:
        return QemuDevice(target) if lacks else LocalDevice()
    if spec == "local":
        if lacks:
            raise DeviceError(f"{lacks}, so it cannot run code for target {target.name}",
                              "run in emulation with --on qemu, or on a board with --on ssh://USER@HOST")
        return LocalDevice()
    if spec == "qemu":
        return QemuDevice(target)
    if spec.startswith("ssh://"):
        config = os.environ.get("EDGECLS_SSH_CONFIG")
        device = SshDevice(SshAddress.parse(spec), Path(config) if config else None)
        if device.arch != target.cpu.arch:
            device.close()
            raise DeviceError(f"{device.name} is {device.arch}, but target {target.name} is {target.cpu.arch}",
                              "compile for a target of that device: edgecls targets lists them")
        return device
    raise DeviceError(f"unknown device {spec!r}", "use local, qemu or ssh://USER@HOST[:PORT]")
