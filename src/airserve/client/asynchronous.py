"""The client for event loops; the same as `Client`, awaited."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pyqwest

from airserve.client.calls import CallInProgress, Settings, new_infer_request
from airserve.client.exchange import (
    HttpRequest,
    HttpResponse,
    Timings,
    check_url,
    model_path,
    parse_json,
    parse_outputs,
)
from airserve.client.transport import NETWORK_ERRORS, as_response, no_answer, transport_options
from airserve.core.call import Tensors
from airserve.core.errors import AirserveError


class AsyncClient:
    """Like `Client`, for asyncio; one client serves any number of calls at once on one event loop."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        ca: str | Path | bytes | None = None,
        http: Literal["auto", "1.1", "2", "3"] = "auto",
        timeout_ms: float | None = None,
        retries: int = 2,
    ) -> None:
        self._settings = Settings(check_url(url, http), key, timeout_ms, retries)
        self._transport = pyqwest.HTTPTransport(**transport_options(http, ca))
        self._http = pyqwest.Client(self._transport)
        self._last: contextvars.ContextVar[Timings | None] = contextvars.ContextVar("last", default=None)

    @property
    def last(self) -> Timings | None:
        """The timings of this task's last good call."""
        return self._last.get()

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout_ms: float | None = None,
        call_id: str | None = None,
    ) -> Tensors:
        """See `Client.infer`."""
        request = new_infer_request(model, inputs, version, outputs, call_id)
        return parse_outputs(await self._call(request, timeout_ms))

    async def metadata(self, model: str, *, version: str | None = None) -> dict[str, Any]:
        """Name, versions, inputs and outputs of a model."""
        response = await self._call(HttpRequest("GET", model_path(model, version), {}))
        document: dict[str, Any] = parse_json(response.body)
        return document

    async def ready(self, model: str | None = None) -> bool:
        """Whether the service, or one model of it, takes calls now."""
        path = "/v2/health/ready" if model is None else f"{model_path(model)}/ready"
        try:
            await self._call(HttpRequest("GET", path, {}))
        except AirserveError:
            return False
        return True

    async def _call(self, request: HttpRequest, timeout_ms: float | None = None) -> HttpResponse:
        call = CallInProgress(self._settings, request, timeout_ms, time.monotonic())
        while True:
            headers, timeout_s = call.send(time.monotonic())
            try:
                response = await self._send(request, headers, timeout_s)
                self._last.set(call.received(response, time.monotonic()))
                return response
            except AirserveError as error:
                await asyncio.sleep(call.pause(error, time.monotonic()))

    async def _send(self, request: HttpRequest, headers: dict[str, str], timeout_s: float | None) -> HttpResponse:
        url = self._settings.url + request.path
        try:
            async with asyncio.timeout(timeout_s):
                if request.method == "GET":
                    return as_response(await self._http.get(url, headers))
                return as_response(await self._http.post(url, headers, request.body))
        except NETWORK_ERRORS as error:
            raise no_answer(self._settings.url, error, timeout_s) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
