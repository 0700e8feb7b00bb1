"""Which channels each lane of a grouped convolution reads, and how channels that move become copies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecls.backends.tvm.blocked.families.channels import segments
from edgecls.backends.tvm.blocked.families.grouped import patterns

LANES = st.sampled_from([4, 8, 16])


@given(groups=st.integers(1, 20), ins=st.integers(1, 40), outs=st.integers(1, 40), lanes=LANES)
def test_every_lane_reads_its_own_group(groups: int, ins: int, outs: int, lanes: int) -> None:
    vectors = []
    for pattern in patterns(groups, ins, outs, lanes):
        assert min(pattern.places) >= 0
        for _ in range(pattern.count):
            vectors.append([pattern.block * lanes + place for place in pattern.places])
    assert len(vectors) == -(-groups * outs // lanes)
    starts = [start for vector in vectors for start in vector]
    assert starts[:groups * outs] == [channel // outs * ins for channel in range(groups * outs)]
    assert max(starts) <= (groups - 1) * ins


@given(data=st.data(), lanes=LANES)
def test_every_block_of_channels_is_in_one_segment(data: st.DataObject, lanes: int) -> None:
    """Whole blocks, in runs or alone, between channels from anywhere."""
    counts = st.sampled_from([1, 5, lanes, 3 * lanes])
    runs = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 70), counts), min_size=1, max_size=8))
    sources = [(number, start + i) for number, start, count in runs for i in range(count)]
    found = segments(sources, lanes)
    assert [s.block for s in found] == [sum(t.count for t in found[:i]) for i in range(len(found))]
    assert sum(s.count for s in found) == -(-len(sources) // lanes)
    for segment in found:
        if segment.copied:
            number, block = segment.copied
            covered = sources[segment.block * lanes:(segment.block + segment.count) * lanes]
            assert covered == [(number, block * lanes + i) for i in range(len(covered))]
