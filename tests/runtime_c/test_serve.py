"""ec_run --serve against well-formed requests, violations and garbage, under the sanitizers."""

from __future__ import annotations

import json
import struct
import subprocess

import numpy as np
import pytest

from tests.runtime_c import tiny
from tests.runtime_c.test_preprocess import in_pillow, side

DESCRIBE, RUN, RUN_IMAGES, PREPROCESS, MEASURE, PROFILE, FACTS, SELFTEST, CLOSE = range(1, 10)
FAILURE = 0xFFFF


def frame(kind: int, payload: bytes = b"", number: int = 7) -> bytes:
    return struct.pack("<IHHII", 0x56534345, 1, kind, number, len(payload)) + payload


def image(width: int, height: int, channels: int, value: int = 9) -> bytes:
    return struct.pack("<III", width, height, channels) + bytes([value]) * (width * height * channels)


def replies(data: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    while data:
        magic, version, kind, number, length = struct.unpack_from("<IHHII", data)
        assert (magic, version) == (0x56534345, 1) and len(data) >= 16 + length
        found.append((kind, number, data[16:16 + length]))
        data = data[16 + length:]
    return found


@pytest.fixture
def converse(ec_run, folder):
    def talk(*requests: bytes, threads: int = 1):
        done = subprocess.run([ec_run, "--serve", folder, "--threads", str(threads)], input=b"".join(requests),
                              capture_output=True, timeout=60)
        assert done.stderr == b"", done.stderr.decode()
        return done.returncode, replies(done.stdout)

    return talk


def test_every_request(converse):
    tensor = tiny.golden_input(2)
    status, answers = converse(
        frame(DESCRIBE, number=1), frame(RUN, struct.pack("<I", 2) + tensor.tobytes(), number=2),
        frame(RUN_IMAGES, struct.pack("<I", 2) + image(20, 10, 3) + image(1, 1, 4), number=3),
        frame(PREPROCESS, image(20, 10, 1), number=4), frame(MEASURE, struct.pack("<III", 1, 1, 3), number=5),
        frame(PROFILE, struct.pack("<II", 2, 4), number=6), frame(FACTS, number=7),
        frame(SELFTEST, struct.pack("<I", 1), number=8), frame(CLOSE, number=9), threads=2)
    assert status == 0
    assert [(kind, number) for kind, number, _ in answers] == [(n | 0x8000, n) for n in range(1, 10)]
    description = json.loads(answers[0][2])
    assert description["protocol"] == 1 and description["threads"] == 2 and description["build_id"] == tiny.BUILD_ID
    assert description["inputs"] == [{"name": "image", "dtype": "float32", "shape": [1, 3, 8, 8]}]
    assert [plan["batch"] for plan in description["plans"]] == [1, 2]
    assert answers[1][2] == tiny.network(tensor).tobytes()
    grey = (np.float32(9) * np.float32(1 / 255) - np.array([0.485, 0.456, 0.406], np.float32)) / np.array(
        [0.229, 0.224, 0.225], np.float32)
    planes = np.broadcast_to(grey[:, None, None], (1, 3, 8, 8))
    assert answers[2][2] == tiny.network(planes).tobytes() * 2
    assert answers[3][2] == planes.tobytes()
    assert len(answers[4][2]) == 3 * 8
    assert [row[:2] for row in struct.iter_unpack("<IIQ", answers[5][2])] == [(0, 2), (1, 3)]
    assert json.loads(answers[6][2])["cores"] >= 1
    assert struct.unpack("<d", answers[7][2])[0] < 1e-5


def test_an_unusable_request_is_answered_and_the_next_one_served(converse):
    status, answers = converse(
        frame(RUN, struct.pack("<I", 3)), frame(RUN_IMAGES, struct.pack("<I", 1) + image(2, 2, 2)),
        frame(MEASURE, struct.pack("<III", 1, 0, 0xFFFFFFFF)), frame(SELFTEST, struct.pack("<I", 9)),
        frame(RUN_IMAGES, struct.pack("<I", 1) + struct.pack("<III", 0, 5, 3)), frame(CLOSE))
    assert status == 0 and [kind for kind, _, _ in answers] == [FAILURE] * 5 + [CLOSE | 0x8000]
    assert [struct.unpack_from("<I", text)[0] for _, _, text in answers[:5]] == [1, 9, 1, 1, 9]
    assert all(len(text) > 8 for _, _, text in answers[:5])


def test_measuring_uses_the_last_input_of_that_batch(converse):
    """An input that was given for batch 1 is still there after batch 2 and a self-test used the arena."""
    loud = np.full((1, 3, 8, 8), 2e6, np.float32)  # tiny refuses it, so measuring it fails
    status, answers = converse(
        frame(RUN, struct.pack("<I", 1) + loud.tobytes()),
        frame(RUN, struct.pack("<I", 2) + tiny.golden_input(2).tobytes()),
        frame(SELFTEST, struct.pack("<I", 1)), frame(PREPROCESS, image(3, 3, 3)),
        frame(MEASURE, struct.pack("<III", 2, 0, 1)), frame(MEASURE, struct.pack("<III", 1, 0, 1)))
    assert status == 0
    assert [kind for kind, _, _ in answers] == [FAILURE, RUN | 0x8000, SELFTEST | 0x8000, PREPROCESS | 0x8000,
                                               MEASURE | 0x8000, FAILURE]
    assert b"out of range" in answers[-1][2]


def test_images_of_any_size_become_what_pillow_makes_of_them(converse):
    rng = np.random.default_rng(19)
    pictures = [rng.integers(0, 256, (side(rng, 200), side(rng, 200), rng.choice([1, 3, 4])), dtype=np.uint8)
                for _ in range(100)]
    requests = [frame(PREPROCESS, struct.pack("<III", p.shape[1], p.shape[0], p.shape[2]) + p.tobytes())
                for p in pictures]
    status, answers = converse(*requests)
    assert status == 0
    for picture, (_, _, tensor) in zip(pictures, answers, strict=True):
        expected = in_pillow(picture, size=(8, 8), resize=(10, 10), mode="shortest", scale=np.float32(1 / 255),
                             mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        assert tensor == np.ascontiguousarray(expected, np.float32).tobytes(), picture.shape


def test_end_of_input_is_a_good_end(converse):
    assert converse() == (0, [])


@pytest.mark.parametrize("request_bytes", [
    b"x", b"GET / HTTP/1.1\r\n\r\n", frame(DESCRIBE)[:15], frame(DESCRIBE, b"x"), frame(0), frame(10), frame(0x8001),
    struct.pack("<IHHII", 0x56534345, 2, 1, 0, 0), struct.pack("<IHHII", 0x56534345, 1, RUN_IMAGES, 0, 0xFFFFFFFF),
    struct.pack("<IHHII", 0x56534345, 1, RUN, 0, 1 << 20), struct.pack("<IHHII", 0x56534345, 1, RUN_IMAGES, 0, 1 << 30),
    frame(RUN, struct.pack("<I", 1)), frame(RUN, struct.pack("<I", 1) + bytes(767)), frame(RUN, b"abc"),
    frame(MEASURE, bytes(11)), frame(RUN_IMAGES, struct.pack("<I", 1) + image(4, 4, 3)[:-1]),
    frame(RUN_IMAGES, struct.pack("<I", 1) + image(4, 4, 3) + b"x"),
    frame(RUN_IMAGES, struct.pack("<I", 2) + image(4, 4, 3)),
    frame(PREPROCESS, struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 4)),
    frame(PREPROCESS, struct.pack("<III", 1 << 16, 1 << 16, 1)),
], ids=lambda data: data[:24].hex())
def test_violations_end_the_conversation(converse, request_bytes):
    status, answers = converse(request_bytes)
    assert status == 2 and len(answers) == 1
    assert answers[0][0] == FAILURE and struct.unpack_from("<I", answers[0][2])[0] == 13


def test_garbage(converse):
    rng = np.random.default_rng(17)
    good = [frame(DESCRIBE), frame(RUN_IMAGES, struct.pack("<I", 1) + image(5, 4, 3)),
            frame(SELFTEST, struct.pack("<I", 2)),
            frame(RUN, struct.pack("<I", 1) + bytes(768)), frame(PROFILE, struct.pack("<II", 1, 1)), frame(FACTS)]
    for _ in range(40):
        data = bytearray(b"".join(good[i] for i in rng.integers(0, len(good), 4)))
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, len(data))] = rng.integers(0, 256)
        status, answers = converse(bytes(data[:rng.integers(1, len(data) + 1)]))
        assert status in (0, 2)
        assert status == 0 or answers[-1][0] == FAILURE
