"""Refusals as problem details for HTTP APIs (RFC 9457), on `/control`.

`code` is stable; `retryable` says whether the same request may succeed later. The type of a limit that was passed is
that of draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from airserve.core.errors import AirserveError, RateLimitedError
from airserve.protocols.encoded import Encoded
from airserve.protocols.refusal import headers_of, sentence_of

_QUOTA = "https://iana.org/assignments/http-problem-types#quota-exceeded"


def render_error(error: AirserveError) -> Encoded:
    """`application/problem+json`."""
    problem = {
        "type": _QUOTA if isinstance(error, RateLimitedError) else "about:blank",
        "title": _title(error.http_status),
        "status": error.http_status,
        "detail": sentence_of(error),
        "code": error.code,
        "retryable": error.retryable,
    }
    return Encoded(
        error.http_status,
        [(b"content-type", b"application/problem+json"), *headers_of(error)],
        [msgspec.json.encode(problem)],
    )


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Closed Request"
