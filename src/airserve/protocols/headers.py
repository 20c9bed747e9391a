"""The headers that every protocol over HTTP shares: key, deadline, ids, timings. Names are lower-case."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from airserve.core.call import Reply, Timings, VariantAsked
from airserve.core.errors import InvalidInputError, MissingKeyError
from airserve.protocols.encoded import Headers

RequestHeaders = Mapping[bytes, bytes]

REPLAYED = (b"airserve-replayed", b"true")
"""Another attempt at the same call was answered, and this is its answer."""
CACHE_HIT = (b"airserve-cache", b"hit")
"""The tenant asked the same of the same version before, and nothing was computed."""

MAX_TIMEOUT_MS = 24 * 3600 * 1000
_NUMBER = re.compile(rb"\d{1,9}(\.\d{1,18})?")
_CALL_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_IDEMPOTENCY_KEY = re.compile(rb"[\x20\x21\x23-\x5b\x5d-\x7e]{1,255}")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_MILLISECONDS = re.compile(rb"\d{1,9}(\.\d{1,6})?")
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def bearer_key(headers: RequestHeaders) -> str:
    """The API key of `Authorization: Bearer …` (RFC 6750 §2.1) or `X-Api-Key`; empty where there is none."""
    authorization = headers.get(b"authorization")
    if authorization is None:
        return headers.get(b"x-api-key", b"").decode("latin-1").strip()
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        raise MissingKeyError("this Authorization scheme is not spoken here; send 'Authorization: Bearer as_live_…'")
    return key.strip().decode("latin-1")


def timeout_ns(headers: RequestHeaders, protocol_timeout_us: int | None, default_ms: int) -> int:
    """How long the call may take: `Airserve-Timeout-Ms`, else the protocol's own field, else the default."""
    header = headers.get(b"airserve-timeout-ms")
    if header is not None:
        if not _MILLISECONDS.fullmatch(header) or not 0 < float(header) <= MAX_TIMEOUT_MS:
            raise InvalidInputError(
                f"Airserve-Timeout-Ms is a number of milliseconds, more than 0 and at most {MAX_TIMEOUT_MS}"
            )
        return int(float(header) * 1e6)
    if protocol_timeout_us:
        return protocol_timeout_us * 1000
    return default_ms * 1_000_000


def request_id(headers: RequestHeaders, new_id: Callable[[], str]) -> str:
    """`X-Request-Id` where it is short and printable, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return new_id()


def idempotency_key(headers: RequestHeaders) -> str | None:
    """`Idempotency-Key`: a string of Structured Fields (RFC 9651 §3.3.3), or the same without its quotes."""
    given = headers.get(b"idempotency-key")
    if given is None:
        return None
    key = given[1:-1] if len(given) > 1 and given.startswith(b'"') and given.endswith(b'"') else given
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidInputError('Idempotency-Key is 1 to 255 printable ASCII characters but " and \\, best a UUID')
    return key.decode("ascii")


def call_id(headers: RequestHeaders) -> str | None:
    """`Airserve-Call-Id`: the same for every attempt at one call, so that it runs once and is metered once.

    An `Idempotency-Key` says the same, and wins.
    """
    key = idempotency_key(headers)
    if key is not None:
        return f"idempotency:{key}"
    given = headers.get(b"airserve-call-id")
    if given is None:
        return None
    if not _CALL_ID.fullmatch(given):
        raise InvalidInputError("Airserve-Call-Id is 1 to 64 letters, digits, dashes or underscores")
    return given.decode("ascii")


def stream_id(headers: RequestHeaders) -> str | None:
    """`Airserve-Stream`: calls with the same one are a stream, whose coded inputs may be differences to former ones."""
    given = headers.get(b"airserve-stream")
    if given is None:
        return None
    if not _CALL_ID.fullmatch(given):
        raise InvalidInputError("Airserve-Stream is 1 to 64 letters, digits, dashes or underscores")
    return given.decode("ascii")


def variant_asked(headers: RequestHeaders, protocol: VariantAsked | None) -> VariantAsked | None:
    """`Airserve-Variant` and `Airserve-Min-Accuracy`, else the protocol's own fields; None where any variant does."""
    name, least = headers.get(b"airserve-variant"), headers.get(b"airserve-min-accuracy")
    if name is None and least is None:
        return protocol
    if least is not None and not _NUMBER.fullmatch(least):
        raise InvalidInputError("Airserve-Min-Accuracy is a number such as 0.99, the least accuracy of an answer")
    own = protocol or VariantAsked()
    return VariantAsked(
        own.name if name is None else name.decode("latin-1"), own.min_accuracy if least is None else float(least)
    )


def answered_by(reply: Reply) -> Headers:
    """Which variant answered, and its accuracy as the manifest says; nothing where only one is served."""
    if not reply.variant:
        return []
    told = [(b"airserve-variant", reply.variant.encode())]
    if reply.accuracy is not None:
        told.append((b"airserve-accuracy", b"%.6g" % reply.accuracy))
    return told


def trace_id(headers: RequestHeaders) -> str | None:
    """The trace id of a valid `traceparent` (W3C Trace Context, level 1, §3.2); anything else is as if absent."""
    match = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    if match is None or match[1] == b"ff" or not match[2].strip(b"0") or not match[3].strip(b"0"):
        return None
    if match[1] == b"00" and match[5] is not None:
        return None
    return match[2].decode("ascii")


def reply_headers(headers: RequestHeaders, request_id: str, timings: Timings, total_ns: int) -> Headers:
    """What every inference reply says of itself: its id and where the time went (W3C Server Timing, in ms)."""
    reply = [
        (b"x-request-id", request_id.encode()),
        server_timing(timings, total_ns),
        (b"airserve-batch-rows", b"%d" % timings.batch_rows),
    ]
    if b"traceparent" in headers and trace_id(headers) is not None:
        # The caller's own span goes back, so that a log of replies can be joined with its trace.
        reply.append((b"traceparent", headers[b"traceparent"]))
    return reply


def server_timing(timings: Timings, total_ns: int) -> tuple[bytes, bytes]:
    """Where the time went (W3C Server Timing, in ms)."""
    timing = (
        f"queue;dur={timings.queue_ns / 1e6:.3f}, compute;dur={timings.compute_ns / 1e6:.3f}, "
        f"total;dur={total_ns / 1e6:.3f}"
    )
    return b"server-timing", timing.encode()
