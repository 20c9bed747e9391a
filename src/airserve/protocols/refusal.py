"""What a refusal says in every protocol over HTTP, whatever the form of its body."""

from __future__ import annotations

import math

from airserve.core.errors import AirserveError, BudgetExhaustedError
from airserve.protocols.encoded import Headers
from airserve.protocols.wrong_method import WrongMethodError


def sentence_of(error: AirserveError) -> str:
    """The message as text that can be sent: a sentence may quote what is no Unicode, a file name, say."""
    return error.message.encode(errors="replace").decode()


def headers_of(error: AirserveError) -> Headers:
    """When to come back, which method to use, how to authenticate (RFC 9110 §10.2.3, §10.2.1, §11.6.1)."""
    headers: Headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    if isinstance(error, WrongMethodError):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, BudgetExhaustedError):
        # The SDKs of OpenAI's family send again what they are not told not to; a budget does not refill by waiting.
        headers.append((b"x-should-retry", b"false"))
    if error.http_status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
