"""Mutations that follow from a seed alone, for a short pass where no coverage guides."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_TOKENS = (
    b"", b"\0", b"\xff", b"\x7f", b'"', b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b":", b",", b"-1", b"1e999",
    b"NaN", b"null", b"true", b"9" * 30, b"0x10", b"\r\n", b"\r\n\r\n", b"\xff\xff\xff\xff", b"\0\0\0\x80",
    b"(", b"'", b";q=", b"*",
)  # fmt: skip


def mutations(seeds: Sequence[bytes], count: int, start: int = 0) -> Iterator[bytes]:
    """The seeds, then `count` inputs made from them, always the same."""
    yield b""
    yield from seeds
    dice = random.Random(start)
    for _ in range(count):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 4)):
            _mutate(data, dice, seeds)
        yield bytes(data)


def _mutate(data: bytearray, dice: random.Random, seeds: Sequence[bytes]) -> None:
    place = dice.randint(0, len(data))
    length = min(dice.choice((0, 1, 1, 2, 4, 8, 40)), len(data) - place)
    kind = dice.randrange(5)
    if kind == 0 and place < len(data):
        data[place] ^= 1 << dice.randrange(8)
    elif kind == 1:
        data[place : place + length] = dice.choice(_TOKENS)
    elif kind == 2:
        del data[place : len(data) if dice.random() < 0.3 else place + length]
    elif kind == 3:
        data[place:place] = data[place : place + length] * dice.choice((1, 2, 50))
    else:
        other = dice.choice(seeds)
        cut = dice.randint(0, len(other))
        data[place:] = other[cut:]
