from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.protocols.byte_ranges import from_range
from airserve.protocols.encoded import Encoded


@given(st.lists(st.binary(max_size=9)), st.integers(0, 80))
def test_what_was_there_and_what_comes_now_are_the_whole(chunks: list[bytes], start: int) -> None:
    whole = b"".join(chunks)
    part = from_range(Encoded(200, [], list(chunks)), b"bytes=%d-" % start)
    headers = dict(part.headers)
    if start >= len(whole):
        assert (part.status, headers[b"content-range"], part.chunks) == (416, b"bytes */%d" % len(whole), [])
    else:
        assert (part.status, whole[:start] + b"".join(part.chunks)) == (206, whole)
        assert headers[b"content-range"] == b"bytes %d-%d/%d" % (start, len(whole) - 1, len(whole))


@pytest.mark.parametrize("wanted", [None, b"", b"bytes=-5", b"bytes=1-2", b"bytes=0-,3-", b"rows=1-", b"bytes=x-"])
def test_any_other_range_is_ignored(wanted: bytes | None) -> None:
    answer = from_range(Encoded(200, [(b"etag", b"x")], [b"abc"]), wanted)
    assert (answer.status, answer.chunks) == (200, [b"abc"])
    assert (b"accept-ranges", b"bytes") in answer.headers and (b"etag", b"x") in answer.headers


def test_a_refusal_has_no_parts() -> None:
    assert from_range(Encoded(304, [], []), b"bytes=1-").status == 304
