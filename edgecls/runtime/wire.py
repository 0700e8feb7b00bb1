"""Client of the serve protocol: what `ec_run --serve` answers on its pipes.

Frame: 16-byte little-endian header {u32 magic "ECSV", u16 version, u16 type, u32 id, u32 length}, then the payload.
A reply repeats the id and carries type | 0x8000, or type 0xFFFF with {u32 ec_status, UTF-8 text}. The device is not
trusted: a reply that is not exactly what the request implies ends the conversation.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import IO, TypeVar

import msgspec

from edgecls.errors import DataError, DeviceError, EdgeclsError
from edgecls.frozen import decode_json
from edgecls.interfaces import PATIENCE_S, Process
from edgecls.runtime.status import complaint, error_of, tail

PROTOCOL_VERSION = 1
MAX_PAYLOAD = 1 << 30
MAX_JSON = 4 << 20
_MAX_ERROR = 64 << 10
_HEADER = struct.Struct("<IHHII")
_STATUS = struct.Struct("<I")
_MAGIC = 0x56534345
_REPLY = 0x8000
_ERROR = 0xFFFF
_GOODBYE_S = 5.0

T = TypeVar("T")


class Request(IntEnum):
    DESCRIBE = 1
    RUN = 2
    RUN_IMAGES = 3
    PREPROCESS = 4
    MEASURE = 5
    PROFILE = 6
    FACTS = 7
    SELFTEST = 8
    CLOSE = 9


def ready(pipe: IO[bytes], event: int, patience_s: float) -> bool:
    """Wait until reading (event select.POLLIN) or writing (POLLOUT) would not block, `patience_s` at most."""
    poll = select.poll()
    poll.register(pipe, event)
    return bool(poll.poll(patience_s * 1000))


def hung(device: str, patience_s: float) -> tuple[str, str]:
    """Message and hint about a program that neither takes nor gives a byte."""
    return (f"{device}: ec_run has been silent for {patience_s:g} seconds",
            "check that the device still works; if one request really takes so long there, allow more with --timeout")


class Wire:
    """One conversation with one process. After the first fault every further request is a DeviceError."""

    def __init__(self, process: Process, device: str, patience_s: float = PATIENCE_S) -> None:
        """patience_s: see edgecls.interfaces.Device."""
        os.set_blocking(process.stdin.fileno(), False)  # a pipe with some room takes what fits and never waits
        self._process = process
        self._device = device
        self._patience_s = patience_s
        self._id = 0
        self._broken = ""

    def request(self, kind: Request, payload: Sequence[bytes | memoryview] = (), *,
                length: int | None = None, at_most: int = MAX_JSON) -> bytearray:
        """Send one request and return its reply's payload, of exactly `length` bytes (or `at_most`, if None).

        Raises DataError for a request over 1 GiB, the device's own error (see `error_of`), or DeviceError when the
        process died or did not keep to the protocol.
        """
        if self._broken:
            raise DeviceError(f"{self._device}: the session is over: {self._broken}", "open the artifact again")
        size = sum(memoryview(part).nbytes for part in payload)
        if size > MAX_PAYLOAD or (length or 0) > MAX_PAYLOAD:
            raise DataError(f"one request of {max(size, length or 0)} bytes is over the limit of 1 GiB",
                            "run fewer or smaller images at once")
        self._id = (self._id + 1) & 0xFFFFFFFF
        self._broken = "a request was interrupted"  # until its reply has been read to the end
        try:
            self._send(_HEADER.pack(_MAGIC, PROTOCOL_VERSION, kind, self._id, size))
            for part in payload:
                self._send(part)
        except OSError:
            pass  # it may have said why before it closed the pipe: read that
        code, body = self._reply(kind, length, at_most)
        self._broken = ""
        if code == _ERROR:
            raise error_of(_STATUS.unpack_from(body)[0], body[_STATUS.size:].decode(errors="replace"), self._device)
        return body

    def request_json(self, kind: Request, answer: type[T]) -> T:
        """A request whose reply is one JSON value of type `answer`. Raises DeviceError."""
        reply = self.request(kind)
        try:
            return decode_json(bytes(reply), answer)
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
            raise self.fault(f"its {kind.name} reply cannot be read: {error}") from None

    def fault(self, what: str) -> DeviceError:
        """The error for a reply that cannot be true. Ends the conversation."""
        said = tail(self._process.errors())
        self._broken = what
        self._process.close()
        return DeviceError(f"{self._device}: {what}" + (f"; it said: {said}" if said else ""),
                           "try again; if it stays, check the device's memory and connection with `edgecls doctor`")

    def close(self) -> None:
        """Say goodbye if the process still listens, then free it. Never raises."""
        if not self._broken:
            self._patience_s = min(self._patience_s, _GOODBYE_S)
            with contextlib.suppress(EdgeclsError):
                self.request(Request.CLOSE, length=0)
                self._process.wait(timeout=_GOODBYE_S)
        self._broken = self._broken or "it was closed"
        self._process.close()

    def _send(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        while view:  # the pipes are unbuffered, so a write may be partial
            self._await(self._process.stdin, select.POLLOUT)
            view = view[self._process.stdin.write(view) or 0:]

    def _receive(self, count: int) -> bytearray:
        data = bytearray()
        while len(data) < count:
            self._await(self._process.stdout, select.POLLIN)
            try:
                chunk = self._process.stdout.read(min(count - len(data), 1 << 20))
            except OSError as error:
                raise self.fault(f"reading its answer failed: {error.strerror or error}") from None
            if not chunk:
                raise self._died()
            data += chunk
        return data

    def _await(self, pipe: IO[bytes], event: int) -> None:
        if not ready(pipe, event, self._patience_s):
            message, hint = hung(self._device, self._patience_s)
            self._broken = "it did not answer in time"
            self._process.close()
            raise DeviceError(message, hint)

    def _reply(self, kind: Request, length: int | None, at_most: int) -> tuple[int, bytearray]:
        header = self._receive(_HEADER.size)
        magic, version, code, number, size = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise self.fault(f"it does not speak the serve protocol (it sent {bytes(header)!r})")
        if version != PROTOCOL_VERSION:
            raise self.fault(f"it speaks serve protocol {version}, this version speaks {PROTOCOL_VERSION}")
        if number != self._id:
            raise self.fault(f"it answered request {number} when {self._id} was asked")
        if code == _ERROR:
            allowed = range(_STATUS.size, _MAX_ERROR + 1)
        elif code == kind | _REPLY:
            allowed = range(at_most + 1) if length is None else range(length, length + 1)
        else:
            raise self.fault(f"it answered {kind.name} with type {code:#06x}")
        if size not in allowed:
            raise self.fault(f"its {kind.name} reply has {size} bytes; {allowed[0]} to {allowed[-1]} were expected")
        return code, self._receive(size)

    def _died(self) -> EdgeclsError:
        try:
            status = self._process.wait(timeout=5)
        except DeviceError as error:  # the transport knows better: a dropped connection, say
            self._broken = error.message
            self._process.close()
            return error
        said = complaint(self._process.errors(), self._device)
        fault = self.fault(f"ec_run ended with status {status} before it answered")
        return said or fault
