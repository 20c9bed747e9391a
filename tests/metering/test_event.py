from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airserve.core.errors import InvalidInputError
from airserve.metering.event import INT64_MAX, Outcome, decode_event, encode_event


def test_an_event_comes_back_as_it_was(make_event: Any) -> None:
    event = make_event(id="0190-αβ", outcome=Outcome.LATE, amount_nano=0, rows=INT64_MAX)
    assert decode_event(encode_event(event)) == event


def test_a_generation_that_ended_early_may_cost(make_event: Any) -> None:
    event = make_event(outcome=Outcome.PARTIAL, amount_nano=3, input_tokens=8, cached_tokens=3, output_tokens=5)
    assert decode_event(encode_event(event)) == event


def test_an_event_of_an_earlier_version_without_tokens_is_still_read(make_event: Any) -> None:
    fields = msgspec.msgpack.decode(encode_event(make_event()))
    assert decode_event(msgspec.msgpack.encode(fields[:14])) == make_event()


def test_an_event_cannot_be_changed(make_event: Any) -> None:
    with pytest.raises(AttributeError):
        make_event().amount_nano = 0


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "a\nb"},
        {"id": "nul\0"},
        {"id": "x" * 500},
        {"id": "\ud800"},
        {"tenant_id": ""},
        {"model": "m" * 513},
        {"rows": -1},
        {"bytes_in": INT64_MAX + 1},
        {"amount_nano": 1 << 70},
        {"outcome": Outcome.LATE, "amount_nano": 1},
        {"output_tokens": -1},
        {"input_tokens": 1 << 63},
    ],
)
def test_what_the_ledger_could_not_take_is_refused_before_it_is_written(
    make_event: Any, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError):
        encode_event(make_event(**changes))


def test_an_event_of_a_later_version_with_more_fields_is_still_read(make_event: Any) -> None:
    fields = msgspec.msgpack.decode(encode_event(make_event()))
    assert decode_event(msgspec.msgpack.encode([*fields, "new"])) == make_event()
