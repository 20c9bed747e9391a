"""One connection to the service: a transport of its own, so that a new line is a new socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import pyqwest

from airserve.client.exchange import HttpRequest, HttpResponse
from airserve.client.transport import NETWORK_ERRORS, Pem, lower_headers, no_answer, open_transport


@dataclass(frozen=True, slots=True)
class Ways:
    """Where a service is and how it may be reached: what lines are opened with."""

    url: str
    http: str
    ca: Pem | None
    certificate: tuple[Pem, Pem] | None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The protocols to try."""
        if self.http != "auto":
            return (self.http,)
        return ("2", "3") if self.url.startswith("https://") else ("1.1",)

    async def open(self, kind: str) -> Line:
        """A line that connects with its first request. Reading the certificates takes some milliseconds of a thread."""
        transport: pyqwest.HTTPTransport = await asyncio.to_thread(
            open_transport, pyqwest.HTTPTransport, kind, self.ca, self.certificate
        )
        return Line(self.url, kind, transport)


class Line:
    """Requests over one connection. `send` raises `UnreachableError` and `DeadlineExceededError`."""

    def __init__(self, url: str, kind: str, transport: pyqwest.HTTPTransport) -> None:
        self.kind = kind
        self._url = url
        self._transport = transport
        self._client = pyqwest.Client(transport)

    async def send(self, request: HttpRequest, headers: Mapping[str, str], timeout_s: float | None) -> HttpResponse:
        """The answer to `request`."""
        url = self._url + request.path
        content = request.body if request.method == "POST" else None
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._client.stream(request.method, url, dict(headers), content) as response,
            ):
                body = b"".join([bytes(part) async for part in response.content])
                return HttpResponse(response.status, lower_headers(response.headers), body)
        except NETWORK_ERRORS as error:
            raise no_answer(self._url, error, timeout_s) from error

    async def close(self) -> None:
        """Close the connection."""
        with suppress(*NETWORK_ERRORS):
            await self._transport.aclose()
