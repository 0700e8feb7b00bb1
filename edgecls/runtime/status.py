"""What an ec_status of libedgecls means to the user of the host."""

from __future__ import annotations

from enum import IntEnum

from edgecls.errors import BundleError, DataError, DeviceError, EdgeclsError


class Status(IntEnum):
    """enum ec_status in edgecls.h; a test compares the two."""

    OK = 0
    ARGUMENT = 1
    IO = 2
    BUNDLE = 3
    MODEL = 4
    DEVICE = 5
    MEMORY = 6
    LOAD = 7
    THREADS = 8
    IMAGE = 9
    KERNEL = 10
    SELFTEST = 11
    UNSUPPORTED = 12
    PROTOCOL = 13


# ec_status_str
TEXTS = {
    "bad argument": Status.ARGUMENT,
    "input/output error": Status.IO,
    "damaged bundle": Status.BUNDLE,
    "bad model descriptor": Status.MODEL,
    "wrong device": Status.DEVICE,
    "not enough memory": Status.MEMORY,
    "cannot load": Status.LOAD,
    "cannot create threads": Status.THREADS,
    "image not accepted": Status.IMAGE,
    "kernel failed": Status.KERNEL,
    "self-test failed": Status.SELFTEST,
    "not supported": Status.UNSUPPORTED,
    "protocol violation": Status.PROTOCOL,
}

_MEANING: dict[int, tuple[type[EdgeclsError], str]] = {
    Status.IO: (DeviceError, "check the free space and the permissions on the device"),
    Status.BUNDLE: (BundleError, "compile the model again, or copy the bundle again if it came over a network"),
    Status.MODEL: (BundleError, "compile the model again with this version of edgecls"),
    Status.DEVICE: (BundleError, "compile the model for this device: edgecls compile --target T"),
    Status.LOAD: (BundleError, "compile the model for this device's system: edgecls compile --target T"),
    Status.MEMORY: (DeviceError, "free memory on the device, use fewer threads or compile for a smaller batch"),
    Status.THREADS: (DeviceError, "use fewer threads"),
    Status.IMAGE: (DataError, "give an image that the model's preprocessing accepts"),
    Status.SELFTEST: (DeviceError, "the device computes something else than the host: report this with the bundle"),
}
_OTHER = (DeviceError, "report this with the bundle and the command you ran")


def error_of(status: int, text: str, device: str) -> EdgeclsError:
    """The error for what libedgecls on `device` refused, in its own words."""
    kind, hint = _MEANING.get(status, _OTHER)
    return kind(f"{device}: {printable(text).strip() or f'failed with status {status}'}", hint)


def complaint(errors: str, device: str) -> EdgeclsError | None:
    """The error for what ec_run wrote before it gave up, `ec_run: STATUS: SENTENCE`; None without such a line."""
    for line in reversed(errors.splitlines()):
        program, _, rest = line.partition(": ")
        name, _, text = rest.partition(": ")
        if program == "ec_run" and name in TEXTS:
            return error_of(TEXTS[name], text or name, device)
    return None


def tail(errors: str) -> str:
    """The end of what a program wrote to standard error, to be quoted in a message."""
    return printable(errors)[-2000:].strip()


def printable(text: str) -> str:
    """Without control characters: what a device sends must not steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)
