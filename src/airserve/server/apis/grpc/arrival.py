"""The HTTP request beneath a remote procedure call: its headers and when it came.

The RPC library hands its services messages; what the rest of the house asks of a request travels beside them.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

from airserve.protocols.headers import RequestHeaders
from airserve.server.http import Request, certificate_in

_arrival: ContextVar[Request] = ContextVar("arrival")


def arrive(path: str, headers: RequestHeaders, client: str) -> None:
    """Note the request that the current task is about to answer; `client` is its sender's IP address."""
    _arrival.set(Request("POST", path, headers, _no_body, time.monotonic_ns(), client, certificate_in(headers)))


def arrival() -> Request:
    """The request that the current task answers."""
    return _arrival.get()


async def _no_body(limit: int) -> bytes:
    # The body is messages, and read as such.
    return b""
