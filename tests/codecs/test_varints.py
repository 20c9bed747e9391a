from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.varints import TooFewBytesError, read_varint, write_varint
from airserve.core.errors import BadFrameError


@given(st.integers(0, 1 << 50))
def test_numbers_come_back(value: int) -> None:
    coded = write_varint(value)
    assert read_varint(b"\0" + coded + b"\x05", 1, value) == (value, 1 + len(coded))
    with pytest.raises(TooFewBytesError):
        read_varint(coded[:-1], 0, value)
    if value:
        with pytest.raises(BadFrameError, match="beyond"):
            read_varint(coded, 0, value - 1)


def test_a_number_that_never_ends_is_refused() -> None:
    with pytest.raises(BadFrameError, match="beyond"):
        read_varint(b"\x80" * 1000, 0, 1 << 40)
