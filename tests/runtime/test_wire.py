"""The protocol client against replies that a broken or hostile device could send."""

from __future__ import annotations

import io
import os
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecls.devices.process import PipeProcess
from edgecls.errors import BundleError, DataError, DeviceError, EdgeclsError
from edgecls.runtime.wire import MAX_PAYLOAD, Request, Wire

HEADER = struct.Struct("<IHHII")
MAGIC = 0x56534345


_ALWAYS_READY = os.open(os.devnull, os.O_RDWR)


class Pipe(io.BytesIO):
    def fileno(self) -> int:
        return _ALWAYS_READY


class Script:
    """A Process that has already said everything it will say."""

    def __init__(self, said: bytes, errors: str = "") -> None:
        self.stdin = Pipe()
        self.stdout = Pipe(said)
        self.closed = False
        self._errors = errors

    def wait(self, timeout: float | None = None) -> int:
        return 139

    def errors(self) -> str:
        return self._errors

    def close(self) -> None:
        self.closed = True


def frame(kind: int, payload: bytes = b"", *, number: int = 1, version: int = 1, magic: int = MAGIC,
          length: int | None = None) -> bytes:
    return HEADER.pack(magic, version, kind, number, len(payload) if length is None else length) + payload


def ask(said: bytes, length: int | None = 4, errors: str = "") -> tuple[Script, Wire]:
    process = Script(said, errors)
    wire = Wire(process, "board")
    wire.request(Request.RUN, [b"abc", memoryview(b"de")], length=length)
    return process, wire


def test_a_request_is_one_frame_and_its_reply_is_returned() -> None:
    process = Script(frame(0x8002, b"four") + frame(0x8009, number=2))
    wire = Wire(process, "board")
    assert wire.request(Request.RUN, [b"abc", memoryview(b"de")], length=4) == b"four"
    assert process.stdin.getvalue() == frame(2, b"abcde")
    wire.close()
    assert process.stdin.getvalue().endswith(frame(9, number=2))
    assert process.closed


@pytest.mark.parametrize(("said", "reason"), [
    (b"", "ended with status 139"),
    (frame(0x8002, b"four")[:10], "ended"),
    (frame(0x8002, b"fou", length=4), "ended"),
    (b"Welcome to the board!\n\n\n", "does not speak"),
    (frame(0x8002, b"four", magic=1), "does not speak"),
    (frame(0x8002, b"four", version=2), "protocol 2"),
    (frame(0x8002, b"four", number=2), "request 2"),
    (frame(0x8003, b"four"), "type 0x8003"),
    (frame(2, b"four"), "type 0x0002"),
    (frame(0x8002, b"five!"), "5 bytes"),
    (frame(0x8002, b"", length=0xFFFFFFFF), "4294967295 bytes"),
    (frame(0xFFFF, b"ab"), "2 bytes"),
    (frame(0xFFFF, b"", length=1 << 30), "1073741824 bytes"),
])
def test_a_reply_that_breaks_the_protocol_is_one_device_error_and_ends_it(said: bytes, reason: str) -> None:
    process = Script(said, errors="Bus error")
    wire = Wire(process, "board")
    with pytest.raises(DeviceError, match=reason) as caught:
        wire.request(Request.RUN, [b"x"], length=4)
    assert "Bus error" in caught.value.message and caught.value.hint
    assert process.closed
    sent = len(process.stdin.getvalue())
    with pytest.raises(DeviceError, match="the session is over"):
        wire.request(Request.RUN, length=4)
    wire.close()
    assert len(process.stdin.getvalue()) == sent


@pytest.mark.parametrize(("status", "kind"), [(3, BundleError), (5, BundleError), (6, DeviceError), (9, DataError),
                                              (77, DeviceError)])
def test_what_the_device_refuses_is_said_in_its_words(status: int, kind: type[EdgeclsError]) -> None:
    text = "weights.bin: changed \x1b[2J since \xff".encode("latin-1")
    process = Script(frame(0xFFFF, struct.pack("<I", status) + text) + frame(0x8002, b"more", number=2))
    wire = Wire(process, "board")
    with pytest.raises(kind, match=r"board: weights\.bin: changed") as caught:
        wire.request(Request.RUN, length=4)
    assert "\x1b" not in caught.value.message
    assert wire.request(Request.RUN, length=4) == b"more", "an orderly refusal does not end the session"


def test_an_error_that_arrives_before_the_request_was_read_is_not_lost() -> None:
    process = Script(frame(0xFFFF, struct.pack("<I", 6) + b"no memory"))
    process.stdin.close()

    class Broken(Pipe):
        def write(self, data: object) -> int:  # type: ignore[override]
            raise BrokenPipeError(32, "Broken pipe")

    process.stdin = Broken()  # type: ignore[assignment]
    with pytest.raises(DeviceError, match="no memory"):
        Wire(process, "board").request(Request.RUN, [b"x" * 100], length=4)


def test_what_the_transport_says_of_a_death_is_kept() -> None:
    class Dropped(Script):
        def wait(self, timeout: float | None = None) -> int:
            raise DeviceError("board: the connection was lost", "check the cable")

    wire = Wire(Dropped(b""), "board")
    for _ in range(2):
        with pytest.raises(DeviceError, match="the connection was lost"):
            wire.request(Request.RUN, length=4)


def test_partial_writes_are_continued() -> None:
    class Slow(Pipe):
        def write(self, data: memoryview) -> int:  # type: ignore[override]
            return super().write(bytes(data[:3]))

    process = Script(frame(0x8002, b"four"))
    process.stdin = Slow()
    Wire(process, "board").request(Request.RUN, [b"abcdefgh"], length=4)
    assert process.stdin.getvalue() == frame(2, b"abcdefgh")


def test_requests_and_replies_over_the_limit_are_refused_before_anything_is_sent() -> None:
    process = Script(b"")
    with pytest.raises(DataError, match="1 GiB"):
        Wire(process, "board").request(Request.RUN, length=MAX_PAYLOAD + 1)
    assert process.stdin.getvalue() == b""


def test_after_an_interruption_the_session_does_not_read_stale_replies() -> None:
    class Interrupted(Pipe):
        def read(self, count: int | None = -1) -> bytes:
            raise KeyboardInterrupt

    process = Script(b"")
    process.stdout = Interrupted()
    wire = Wire(process, "board")
    with pytest.raises(KeyboardInterrupt):
        wire.request(Request.RUN, length=4)
    with pytest.raises(DeviceError, match="interrupted"):
        wire.request(Request.RUN, length=4)
    wire.close()
    assert process.closed


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"a": "b"}', b"\xff\xfe", b"[" * 100000])
def test_json_that_is_not_the_expected_value(text: bytes) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        Wire(Script(frame(0x8001, text)), "board").request_json(Request.DESCRIBE, dict[str, int])


@given(st.binary(max_size=64), st.booleans())
def test_any_bytes_are_a_reply_or_an_edgecls_error(noise: bytes, framed: bool) -> None:
    said = frame(0x8002, noise) if framed else noise
    try:
        process, _ = ask(said)
    except EdgeclsError as error:
        assert error.message and error.hint
    else:
        assert process.stdout.getvalue()[16:20] == noise


@pytest.mark.parametrize("size", [5, 4 << 20], ids=["no reply", "no room for the request"])
def test_a_process_that_hangs_is_one_error(size: int) -> None:
    process = PipeProcess(["sleep", "600"], device="board")
    wire = Wire(process, "board", patience_s=0.2)
    with pytest.raises(DeviceError, match=r"board: ec_run has been silent for 0\.2 seconds") as caught:
        wire.request(Request.RUN, [bytes(size)], length=4)
    assert "--timeout" in caught.value.hint
    assert process.wait(0) < 0, "it is not left behind"
    with pytest.raises(DeviceError, match="the session is over: it did not answer in time"):
        wire.request(Request.FACTS)
    wire.close()


def test_patience_is_with_silence_not_with_slowness() -> None:
    reply = frame(0x8002, b"four")
    slow = f"import os, time\nfor byte in {reply!r}:\n    os.write(1, bytes([byte])); time.sleep(0.1)"
    process = PipeProcess([sys.executable, "-Ic", slow], device="board")
    wire = Wire(process, "board", patience_s=1.0)  # the whole reply takes two seconds
    assert wire.request(Request.RUN, [b"abc"], length=4) == b"four"
    process.close()
