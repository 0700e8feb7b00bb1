"""Rows cut into tiles: every output in exactly one, and the taps that each tile says it reads."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from edgecls.backends.tvm.blocked.families.product import parts
from edgecls.backends.tvm.blocked.window import Window, balanced, flattened, runs


@given(extent=st.integers(1, 300), most=st.integers(1, 40))
def test_balanced_pieces_are_few_and_equal(extent: int, most: int) -> None:
    pieces = balanced(extent, most)
    assert sum(pieces) == extent and max(pieces) <= most
    assert len(pieces) == -(-extent // most) and pieces[0] - pieces[-1] <= 1
    assert pieces == sorted(pieces, reverse=True)


@given(width=st.integers(1, 40), kernel=st.integers(1, 7), stride=st.integers(1, 3), dilation=st.integers(1, 3),
       left=st.integers(0, 6), right=st.integers(0, 6), most=st.integers(1, 14))
def test_runs_cover_every_column_once(width: int, kernel: int, stride: int, dilation: int, left: int, right: int,
                                      most: int) -> None:
    assume(width + left + right > dilation * (kernel - 1))
    window = Window(n=1, ci=1, co=1, h=1, w=width, kernel=(1, kernel), stride=(1, stride), pad=(0, left, 0, right),
                    dilation=(1, dilation))
    covered = []
    for run in runs(window, most):
        assert run.size <= most
        for tile in range(run.count):
            columns = range(run.start + tile * run.size, run.start + (tile + 1) * run.size)
            covered += columns
            for tap in range(kernel):
                inside = [r for r, c in enumerate(columns) if 0 <= c * stride - left + tap * dilation < width]
                assert list(run.taps[tap]) == inside
    assert covered == list(range(window.ow))


@given(co=st.integers(1, 300), lanes=st.sampled_from([4, 8, 16]), vectors=st.integers(1, 4), half=st.booleans())
def test_parts_cover_every_vector_once(co: int, lanes: int, vectors: int, half: bool) -> None:
    found = parts(co, lanes, vectors, half)
    starts = [part.first + group * part.vectors for part in found for group in range(part.count)]
    sizes = [part.vectors for part in found for _ in range(part.count)]
    assert max(sizes) <= vectors and starts == [sum(sizes[:i]) for i in range(len(sizes))]
    assert sum(sizes) == -(-co // lanes)
    # packing does not depend on it
    assert [p.vectors for p in parts(co, lanes, vectors) for _ in range(p.count)] == sizes
    last = co % lanes or lanes
    assert [part.half for part in found] == [False] * (len(found) - 1) + [half and last <= lanes // 2]
    assert not found[-1].half or found[-1].count == 1


@given(h=st.integers(1, 40), w=st.integers(1, 40), most=st.integers(1, 28), groups=st.integers(1, 20))
def test_flattened_images_keep_their_pixels(h: int, w: int, most: int, groups: int) -> None:
    window = Window(n=2, ci=3, co=5, h=h, w=w, kernel=(1, 1))
    flat = flattened(window, most, groups)
    assert flat.oh * flat.ow == h * w
    # cores share the rows of all groups: few long ones only where the image had them
    assert groups * flat.oh >= 16 or flat.ow <= max(most, w)
    assert (flat.n, flat.ci, flat.co, flat.kernel) == (2, 3, 5, (1, 1))


def test_only_pointwise_images_are_flattened() -> None:
    window = Window(n=1, ci=3, co=5, h=7, w=7, kernel=(3, 3), pad=(1, 1, 1, 1))
    assert flattened(window, 12, 1) is window
