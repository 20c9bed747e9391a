"""How `AsyncClient` sends a request: over its own connections, as often as it takes and may take."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pyqwest

from airserve.client.calls import CallInProgress, Settings, new_sealed_keys
from airserve.client.exchange import HttpRequest, HttpResponse, Timings, raise_for
from airserve.client.streams import AsyncChatStream
from airserve.client.transport import NETWORK_ERRORS, as_response, lower_headers, no_answer
from airserve.core.call import Tensors
from airserve.core.errors import AirserveError

if TYPE_CHECKING:
    from airserve.client.sealing import SealedInfer, SealedKeys

Result = TypeVar("Result")


class AsyncAttempts:
    """See `Attempts`."""

    def __init__(self, settings: Settings, transport: pyqwest.HTTPTransport, sealed_identity: str | None) -> None:
        self._settings = settings
        self._sealed_identity = sealed_identity
        self._sealed_keys: SealedKeys | None = None
        self._transport = transport
        self._http = pyqwest.Client(transport)
        self._last: contextvars.ContextVar[Timings | None] = contextvars.ContextVar("last", default=None)

    @property
    def last(self) -> Timings | None:
        """The timings of this task's last good call."""
        return self._last.get()

    async def _call(self, request: HttpRequest, timeout_ms: float | None = None) -> HttpResponse:
        return await self._attempt(request, timeout_ms, self._send)

    async def _attempt(
        self,
        request: HttpRequest,
        timeout_ms: float | None,
        send: Callable[[HttpRequest, dict[str, str], float | None], Awaitable[tuple[HttpResponse, Result]]],
    ) -> Result:
        """What `send` makes of the answer, after as many attempts as it takes and may take."""
        call = CallInProgress(self._settings, request, timeout_ms, time.monotonic())
        while True:
            headers, timeout_s = call.send(time.monotonic())
            try:
                response, result = await send(request, headers, timeout_s)
                self._last.set(call.received(response, time.monotonic()))
                return result
            except AirserveError as error:
                await asyncio.sleep(call.pause(error, time.monotonic()))

    async def _send(
        self, request: HttpRequest, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[HttpResponse, HttpResponse]:
        url = self._settings.url + request.path
        try:
            async with asyncio.timeout(timeout_s):
                if request.method == "GET":
                    response = as_response(await self._http.get(url, headers))
                else:
                    response = as_response(await self._http.post(url, headers, request.body))
        except NETWORK_ERRORS as error:
            raise no_answer(self._settings.url, error, timeout_s) from error
        return response, response

    async def _send_sealed(
        self, call: SealedInfer, request: HttpRequest, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[HttpResponse, Tensors]:
        """One attempt at a sealed call, which may have to fetch the key first."""
        if self._sealed_keys is None:
            self._sealed_keys = new_sealed_keys(self._sealed_identity)
        steps = call.steps(self._sealed_keys)
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        request = next(steps)
        while True:
            left_s = None if ends_at is None else max(0.001, ends_at - time.monotonic())
            headers = self._settings.headers(request, None if left_s is None else left_s * 1000)
            response, _ = await self._send(request, headers, left_s)
            try:
                request = steps.send(response)
            except StopIteration as done:
                return response, done.value

    async def _open(
        self, request: HttpRequest, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[HttpResponse, AsyncChatStream]:
        """Send a request and leave its answer to be read as it comes."""
        url = self._settings.url
        ends_at = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(ends_at):
                opened = self._http.stream(request.method, url + request.path, headers, request.body)
                response = await opened.__aenter__()
                head = HttpResponse(response.status, lower_headers(response.headers), b"")
                if head.status != 200:
                    async with response:
                        raise_for(replace(head, body=b"".join([bytes(part) async for part in response.content])))
        except NETWORK_ERRORS as error:
            raise no_answer(url, error, timeout_s) from error
        return head, AsyncChatStream(opened, response, lambda error: no_answer(url, error, timeout_s), ends_at)
