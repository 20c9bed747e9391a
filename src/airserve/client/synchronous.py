"""The client for threads. One client may be shared by many: it keeps a pool of connections."""

from __future__ import annotations

import threading
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


class Client:
    """`Client("https://host:8443", key).infer("digits", {"x": array})`.

    `http` chooses the protocol: "1.1", "2", "3", or "auto" (HTTP/2 where TLS offers it). `ca` is the certificate
    authority to trust, PEM or a path. `timeout_ms` is the budget of a call over all its attempts. A call is tried
    again, at most `retries` times and under the same call id, when the service is overloaded or cannot be reached.
    """

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
        self._transport = pyqwest.SyncHTTPTransport(**transport_options(http, ca))
        self._http = pyqwest.SyncClient(self._transport)
        self._last = threading.local()

    @property
    def last(self) -> Timings | None:
        """The timings of this thread's last good call."""
        return getattr(self._last, "timings", None)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout_ms: float | None = None,
        call_id: str | None = None,
    ) -> Tensors:
        """All outputs of `model`, or those named, as arrays (BYTES: object arrays of bytes).

        Raises the classes of `airserve.core.errors`: `InvalidInputError`, `MissingKeyError`, `NotFoundError`,
        `OverloadedError`, `DeadlineExceededError`, `UnreachableError` …
        """
        return parse_outputs(self._call(new_infer_request(model, inputs, version, outputs, call_id), timeout_ms))

    def metadata(self, model: str, *, version: str | None = None) -> dict[str, Any]:
        """Name, versions, inputs and outputs of a model."""
        document: dict[str, Any] = parse_json(self._call(HttpRequest("GET", model_path(model, version), {})).body)
        return document

    def ready(self, model: str | None = None) -> bool:
        """Whether the service, or one model of it, takes calls now."""
        path = "/v2/health/ready" if model is None else f"{model_path(model)}/ready"
        try:
            self._call(HttpRequest("GET", path, {}))
        except AirserveError:
            return False
        return True

    def _call(self, request: HttpRequest, timeout_ms: float | None = None) -> HttpResponse:
        call = CallInProgress(self._settings, request, timeout_ms, time.monotonic())
        while True:
            headers, timeout_s = call.send(time.monotonic())
            try:
                response = self._send(request, headers, timeout_s)
                self._last.timings = call.received(response, time.monotonic())
                return response
            except AirserveError as error:
                time.sleep(call.pause(error, time.monotonic()))

    def _send(self, request: HttpRequest, headers: dict[str, str], timeout_s: float | None) -> HttpResponse:
        url = self._settings.url + request.path
        try:
            if request.method == "GET":
                return as_response(self._http.get(url, headers, timeout=timeout_s))
            return as_response(self._http.post(url, headers, request.body, timeout=timeout_s))
        except NETWORK_ERRORS as error:
            raise no_answer(self._settings.url, error, timeout_s) from error

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
