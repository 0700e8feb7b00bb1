"""The table of constants holds the numbers, and each of them is loaded once, from where it lies."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

from edgecls.backends.tvm.blocked import neon_constants


@pytest.mark.parametrize("numbers", [[5.6], [0.1, -126.0], [1 / 3, 12582912.0, -2.7139290637023805e-07]])
def test_each_number_is_loaded_from_its_place(numbers: list[float]) -> None:
    text = neon_constants.function(numbers)[1]
    table = [struct.unpack(">d", bytes.fromhex(digits))[0] for digits in re.findall(r"float 0x(\w+)", text)]
    # LLVM refuses what no float32 is
    assert table == np.float32(np.repeat(numbers, 4)).tolist()
    found: dict[int, int] = {}
    for registers, base, place in re.findall(r"ld[rp] (.*?), \[\$(\d+), #(\d+)\]", text):
        assert int(base) == len(numbers)
        for number, register in enumerate(re.findall(r"\{(\d+):q\}", registers)):
            found[int(register)] = int(place) + 16 * number
    assert found == {i: 16 * i for i in range(len(numbers))}


def test_other_numbers_have_another_name() -> None:
    assert neon_constants.function([1.0, 2.0])[0] != neon_constants.function([1.0, 3.0])[0]
