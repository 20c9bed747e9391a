"""Refusals as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`.

Source: OpenAI API reference, "Error codes"; which class the `openai` package raises is decided by the status alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from airserve.core.errors import (
    AirserveError,
    BudgetExhaustedError,
    InvalidInputError,
    MissingKeyError,
    NotFoundError,
    RateLimitedError,
)
from airserve.protocols.encoded import Encoded
from airserve.protocols.refusal import headers_of, sentence_of

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
}
_QUOTA = "insufficient_quota"


class ParameterError(InvalidInputError):
    """One field of a request is wrong. `param` is its path, as in `messages[0].content`; `reason` is OpenAI's code."""

    def __init__(self, message: str, param: str | None, reason: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.reason = reason


class UnknownModelError(NotFoundError):
    """The body, or the path, names a model that is not here."""


def render_error(error: AirserveError) -> Encoded:
    """The error as a whole response.

    `x-should-retry` keeps the `openai` package from sending again what would fail again.
    """
    headers = [(b"content-type", b"application/json"), *headers_of(error)]
    if not isinstance(error, BudgetExhaustedError):
        headers.append((b"x-should-retry", b"true" if error.retryable else b"false"))
    return Encoded(_status(error), headers, [msgspec.json.encode(error_document(error))])


def error_document(error: AirserveError) -> dict[str, Any]:
    """The error object, for a response or for an event of a stream that has begun."""
    return {
        "error": {"message": sentence_of(error), "type": _type(error), "param": _param(error), "code": _code(error)}
    }


def _status(error: AirserveError) -> int:
    # OpenAI's clients know no 402: an empty account is a kind of 429 to them.
    return 429 if isinstance(error, BudgetExhaustedError) else error.http_status


def _type(error: AirserveError) -> str:
    if isinstance(error, BudgetExhaustedError):
        return _QUOTA
    return _TYPES.get(error.http_status, "invalid_request_error" if error.http_status < 500 else "server_error")


def _param(error: AirserveError) -> str | None:
    if isinstance(error, ParameterError):
        return error.param
    return "model" if isinstance(error, UnknownModelError) else None


def _code(error: AirserveError) -> str:
    """OpenAI's code where clients look for one, else our own stable code."""
    if isinstance(error, ParameterError):
        return error.reason
    if isinstance(error, UnknownModelError):
        return "model_not_found"
    if isinstance(error, MissingKeyError):
        return "invalid_api_key"
    if isinstance(error, BudgetExhaustedError):
        return _QUOTA
    return "rate_limit_exceeded" if isinstance(error, RateLimitedError) else error.code
