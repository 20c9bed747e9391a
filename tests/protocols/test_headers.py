from __future__ import annotations

import pytest

from airserve.core.call import Timings
from airserve.core.errors import InvalidInputError, MissingKeyError
from airserve.protocols.content_coding import preferred_coding
from airserve.protocols.headers import bearer_key, call_id, reply_headers, request_id, timeout_ns, trace_id

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_key_comes_as_bearer_or_x_api_key() -> None:
    assert bearer_key({b"authorization": b"Bearer abc"}) == "abc"
    assert bearer_key({b"authorization": b"bearer  abc "}) == "abc"
    assert bearer_key({b"x-api-key": b"abc"}) == "abc"
    assert bearer_key({}) == ""
    with pytest.raises(MissingKeyError):
        bearer_key({b"authorization": b"Basic abc"})


def test_the_header_wins_over_the_protocols_field_and_that_over_the_default() -> None:
    assert timeout_ns({b"airserve-timeout-ms": b"2.5"}, 9, 1000) == 2_500_000
    assert timeout_ns({}, 9, 1000) == 9_000
    assert timeout_ns({}, None, 1000) == 1_000_000_000
    assert timeout_ns({}, 0, 1000) == 1_000_000_000


@pytest.mark.parametrize("value", [b"", b"0", b"-1", b"nan", b"1e3", b"1_0", b" 5", b"999999999", b"0.0"])
def test_a_time_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidInputError):
        timeout_ns({b"airserve-timeout-ms": value}, None, 1000)


def test_ids_are_kept_where_they_are_harmless() -> None:
    assert request_id({b"x-request-id": b"order/17"}, lambda: "new") == "order/17"
    for odd in (b"", b"a b", b"x" * 129, b"\xff", b"a\nb"):
        assert request_id({b"x-request-id": odd}, lambda: "new") == "new"
    assert call_id({}) is None
    assert call_id({b"airserve-call-id": b"a-B_9"}) == "a-B_9"
    for odd in (b"", b"a b", b"x" * 65, b"\xc3"):
        with pytest.raises(InvalidInputError):
            call_id({b"airserve-call-id": odd})


def test_a_trace_is_followed_only_if_it_is_one() -> None:
    assert trace_id({b"traceparent": TRACE}) == "0af7651916cd43dd8448eb211c80319c"
    assert trace_id({b"traceparent": b"cc" + TRACE[2:] + b"-more"}) is not None
    for odd in (
        b"",
        b"x",
        b"ff" + TRACE[2:],
        TRACE + b"-more",
        TRACE.upper(),
        TRACE.replace(b"b7ad6b7169203331", b"0" * 16),
    ):
        assert trace_id({b"traceparent": odd}) is None


def test_a_reply_says_where_the_time_went() -> None:
    headers = dict(reply_headers({b"traceparent": TRACE}, "r", Timings(1_500_000, 250_000, 8), 3_000_000))
    assert headers[b"server-timing"] == b"queue;dur=1.500, compute;dur=0.250, total;dur=3.000"
    assert headers[b"airserve-batch-rows"] == b"8"
    assert headers[b"x-request-id"] == b"r"
    assert headers[b"traceparent"] == TRACE
    assert b"traceparent" not in dict(reply_headers({b"traceparent": b"odd"}, "r", Timings(), 0))


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (b"gzip", "gzip"), (b"deflate, gzip", "gzip"), (b"deflate;q=1, gzip;q=0.5", "deflate"), (b"*", "gzip"),
        (b"identity", None), (b"gzip;q=0", None), (b"br", None), (b"", None), (b"gzip;q=0.2, identity;q=0.8", None),
        (b"\xff;;q==", None),
    ],
)  # fmt: skip
def test_the_reply_is_coded_as_the_client_prefers(accept: bytes, coding: str | None) -> None:
    assert preferred_coding(accept) == coding
