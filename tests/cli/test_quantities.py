"""Shares, times and sizes as people write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airserve.cli.quantities import bytes_of, milliseconds_of, share_of
from airserve.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (share_of, "1%", 0.01),
        (share_of, "0.25", 0.25),
        (share_of, "0", 0.0),
        (milliseconds_of, "5ms", 5.0),
        (milliseconds_of, "0.2 s", 200.0),
        (milliseconds_of, "800us", 0.8),
        (bytes_of, "10MB", 10_000_000),
        (bytes_of, "64 MiB", 64 << 20),
        (bytes_of, "1.5kb", 1500),
        (bytes_of, "7B", 7),
    ],
)
def test_quantities_are_read(read: Callable[[str, str], float], text: str, value: float) -> None:
    assert read("--option", text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (share_of, "101%"), (share_of, "-1%"), (share_of, "nan"), (share_of, "much"),
        (milliseconds_of, "5"), (milliseconds_of, "0ms"), (milliseconds_of, "-1s"), (milliseconds_of, "infs"),
        (bytes_of, "10"), (bytes_of, "0MB"), (bytes_of, "MB"), (bytes_of, "nanMB"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_by_the_options_name(read: Callable[[str, str], float], text: str) -> None:
    with pytest.raises(InvalidInputError, match="--option is a"):
        read("--option", text)
