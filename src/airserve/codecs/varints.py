"""Whole numbers in as many bytes as they need: LEB128, seven bits a byte, the lowest first."""

from __future__ import annotations

from airserve.core.errors import BadFrameError


class TooFewBytesError(BadFrameError):
    """The number goes on after the bytes that are there."""


def write_varint(value: int) -> bytes:
    """`value`, 0 or more."""
    coded = bytearray()
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)


def read_varint(data: bytes | memoryview, start: int, most: int) -> tuple[int, int]:
    """The number at `start`, and where it ends. Raises `BadFrameError` beyond `most`, or where it is cut off."""
    value = shift = 0
    for place in range(start, len(data)):
        value |= (data[place] & 0x7F) << shift
        if value > most or shift > 63:
            raise BadFrameError(f"the frame holds a number beyond {most}")
        if data[place] < 0x80:
            return value, place + 1
        shift += 7
    raise TooFewBytesError("the frame is cut off")
