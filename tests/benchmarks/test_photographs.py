"""What tells thread counts apart must see every bit."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.photographs import Hashed


class Answering:
    threads = 4

    def __init__(self, *answers):
        self.answers = [{"logits": np.float32(a)} for a in answers]

    def run(self, feed):
        return self.answers.pop(0)


def digest(*answers):
    session = Hashed(Answering(*answers))
    for answer in answers:
        assert session.run({})["logits"] == np.float32(answer)
    return session.hexdigest()


def test_it_is_the_session_otherwise():
    assert Hashed(Answering()).threads == 4


@pytest.mark.parametrize("other", [(1, 2), (2, 1, 3), (1, 2, np.nextafter(np.float32(3), np.float32(4))), (-1, 2, 3)])
def test_any_other_bit_gives_another_hash(other):
    assert digest(1, 2, 3) == digest(1, 2, 3) != digest(*other)
