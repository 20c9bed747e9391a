from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import InvalidInputError
from airserve.metering.journal_format import (
    MAX_PAYLOAD,
    Rest,
    SegmentName,
    check_node_id,
    encode_batch,
    scan,
)

batches_of_payloads = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=5), min_size=1, max_size=6)


def written(batches: list[list[bytes]], first_lsn: int = 1) -> tuple[bytes, list[int]]:
    """The bytes of `batches`, and the offset at the end of each."""
    data, ends = b"", []
    for payloads in batches:
        data += encode_batch(first_lsn, payloads)
        first_lsn += len(payloads)
        ends.append(len(data))
    return data, ends


@given(batches_of_payloads, st.integers(1, 2**60))
def test_what_was_written_is_read_back_in_order_with_its_numbers(batches: list[list[bytes]], first: int) -> None:
    data, _ = written(batches, first)
    found = scan(data, first)
    flat = [payload for payloads in batches for payload in payloads]
    assert [frame.payload for frame in found.frames] == flat
    assert [frame.lsn for frame in found.frames] == list(range(first, first + len(flat)))
    assert (found.rest, found.end, found.frames[-1].end) == (Rest.NOTHING, len(data), len(data))


@given(batches_of_payloads, st.data())
def test_cut_anywhere_exactly_the_whole_batches_before_the_cut_count(
    batches: list[list[bytes]], draw: st.DataObject
) -> None:
    data, ends = written(batches)
    cut = draw.draw(st.integers(0, len(data)))
    found = scan(data[:cut], 1)
    whole = [payloads for payloads, end in zip(batches, ends, strict=True) if end <= cut]
    assert [frame.payload for frame in found.frames] == [payload for payloads in whole for payload in payloads]
    assert found.end == max([end for end in ends if end <= cut], default=0)
    assert found.rest is (Rest.NOTHING if cut == found.end else Rest.PARTIAL)


def test_a_tail_torn_at_every_byte_of_the_last_frame_is_partial_and_loses_nothing_before_it() -> None:
    head, tail = encode_batch(1, [b"one", b"two"]), encode_batch(3, [b"three" * 20])
    for cut in range(len(tail)):
        found = scan(head + tail[:cut], 1)
        assert [frame.payload for frame in found.frames] == [b"one", b"two"]
        assert found.rest is (Rest.PARTIAL if cut else Rest.NOTHING)


@given(batches_of_payloads.filter(lambda batches: len(batches) > 1), st.data())
def test_a_flipped_bit_is_never_read_as_data_and_is_damage_unless_it_lies_in_the_tail(
    batches: list[list[bytes]], draw: st.DataObject
) -> None:
    data, _ = written(batches)
    at = draw.draw(st.integers(0, len(data) - 1))
    broken = bytearray(data)
    broken[at] ^= 1 << draw.draw(st.integers(0, 7))
    found = scan(bytes(broken), 1)
    flat = [payload for payloads in batches for payload in payloads]
    assert [frame.payload for frame in found.frames] == flat[: len(found.frames)]
    assert found.end <= at
    last_frame = len(data) - len(encode_batch(1, [flat[-1]]))
    assert found.rest is (Rest.PARTIAL if at >= last_frame else Rest.DAMAGED)


@pytest.mark.parametrize("hole", [1, 8, 100, 4096])
def test_zeros_at_the_tail_as_a_power_cut_leaves_them_are_torn_and_zeros_before_frames_are_damage(hole: int) -> None:
    head, more = encode_batch(1, [b"a"]), encode_batch(3, [b"c"])
    assert scan(head + bytes(hole), 1).rest is Rest.PARTIAL
    assert scan(head + bytes(hole) + more, 1).rest is Rest.DAMAGED


def test_a_missing_frame_is_damage_and_a_frame_from_before_is_not_read_again() -> None:
    first, second, third = (encode_batch(lsn, [b"x"]) for lsn in (1, 2, 3))
    assert scan(first + third, 1).rest is Rest.DAMAGED
    again = scan(first + second + first, 1)
    assert (len(again.frames), again.rest) == (2, Rest.PARTIAL)


def test_a_length_that_lies_is_not_followed() -> None:
    data = bytearray(encode_batch(1, [b"x" * 10]) + encode_batch(2, [b"y"]))
    data[0:4] = (2**32 - 1).to_bytes(4, "little")
    assert (scan(bytes(data), 1).end, scan(bytes(data), 1).rest) == (0, Rest.DAMAGED)


def test_damage_is_found_where_the_number_of_the_next_frame_passes_a_multiple_of_two_to_the_24() -> None:
    lsn = 2**24 - 2
    data = bytearray(encode_batch(lsn, [b"x"]) + encode_batch(lsn + 1, [b"y"]) + encode_batch(lsn + 2, [b"z"]))
    data[20] ^= 255
    assert scan(bytes(data), lsn).rest is Rest.DAMAGED


def test_a_payload_over_the_limit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=str(MAX_PAYLOAD)):
        encode_batch(1, [bytes(MAX_PAYLOAD + 1)])


def test_segment_names_sort_as_they_were_written_and_other_files_are_none() -> None:
    name = SegmentName("edge-1", 2, 30)
    assert str(name) == "edge-1-00000002-00000030.wal"
    assert SegmentName.parse(str(name)) == name
    assert (
        SegmentName("n", 1, 99_999_999)
        < SegmentName("n", 1, 100_000_000)
        == SegmentName.parse("n-00000001-100000000.wal")
    )
    assert [SegmentName.parse(other) for other in ("n.lock", "n-1-2.wal", "n-00000001-00000002.wal.bak")] == [None] * 3


@pytest.mark.parametrize("node_id", ["", "../x", "a/b", "-a", "a" * 65, "a b", "ä"])
def test_a_node_id_that_cannot_be_a_file_name_is_refused(node_id: str) -> None:
    with pytest.raises(InvalidInputError):
        check_node_id(node_id)
