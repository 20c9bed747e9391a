"""What a front gives us and takes from us: one request, one response. No framework, no protocol in here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `path` is percent-encoded as it came; header names are lower-case; `read(limit)` gives
    the whole body or raises `TooLargeError`; `started_ns` is on the clock of `time.monotonic_ns`."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    read: Callable[[int], Awaitable[bytes | memoryview]]
    started_ns: int
