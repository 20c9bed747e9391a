from __future__ import annotations

import pytest

from airserve.core.errors import InvalidInputError
from airserve.models.rollout.guards import DEFAULT, DEFAULT_OF_TEXT, Guard, parse_guards


def test_guards_are_read_as_people_write_them() -> None:
    assert parse_guards(" error < 0.5% ,p99<1.2x, agreement>98% ") == (
        Guard("error<0.5%", "error", 0.005),
        Guard("p99<1.2x", "latency", 1 - 0.99, times=1.2),
        Guard("agreement>98%", "agreement", 1 - 0.98),
    )
    assert parse_guards("p95<50ms") == (Guard("p95<50ms", "latency", 1 - 0.95, longest_ns=50_000_000),)
    assert parse_guards("p50<2s")[0].longest_ns == 2 * 10**9


def test_what_was_read_is_read_again() -> None:
    for text in (DEFAULT, DEFAULT_OF_TEXT):
        guards = parse_guards(text)
        assert parse_guards(",".join(guard.text for guard in guards)) == guards


@pytest.mark.parametrize(
    "text",
    [
        "", " , ", "error<0%", "error<100%", "error>1%", "agreement<98%", "agreement>100%", "error<5ms", "p99<5%",
        "p99<0x", "p42<1x", "error<0.5%, error<1%", "p99<2x,p50<2x", "error<nan%", "error<1e3%", "latency<5ms",
        "error<0.5% p99<2x",
    ],
)  # fmt: skip
def test_what_is_no_guard_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"p99<1\.2x|one guard for each kind"):
        parse_guards(text)
