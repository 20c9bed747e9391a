"""Another server that speaks OpenAI's API, as an engine: requests go there, and their pieces come back as they come.

The network is on an event loop of its own; threads that generate wait for it in short steps, so that a call whose
client has gone is noticed, and its connection closed, even while the other server is silent.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import wait
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import pyqwest
import structlog

from airserve.codecs.server_sent_events import take_events
from airserve.core.errors import AirserveError, BadPackageError, InvalidInputError, ModelFailedError, OverloadedError
from airserve.core.generation import Generation, Piece, TokenCounts
from airserve.engines.base import Generator
from airserve.engines.circuit_breaker import CircuitBreaker, Permit, Result
from airserve.engines.options import Source, Upstream
from airserve.engines.upstream_chunks import UpstreamChunks

log = structlog.get_logger("airserve.engines.upstream")

Emit = Callable[[Piece], bool]
_T = TypeVar("_T")

_STEP_S = 0.25
_FAILURES = 5
_PAUSE_S = 5.0
_FIRST_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 10.0
_RETRIED = (429, 502, 503)
_OPERATORS = (401, 402, 403, 404)
_MAX_EVENT_BYTES = 1 << 20
_MAX_ERROR_BYTES = 1 << 16
_NONE = TokenCounts()


class _StoppedError(Exception):
    """Nobody wants the answer any more."""


class UpstreamGenerator:
    """`generate` may be called from `slots` threads at once."""

    embeds = False

    def __init__(self, upstream: Upstream, model: str, key: str | None) -> None:
        self.slots = upstream.slots
        self._upstream, self._model, self._key = upstream, model, key
        self._breaker = CircuitBreaker(limit=_FAILURES, pause_ns=int(_PAUSE_S * 1e9))
        self._lock = threading.Lock()
        self._transport = pyqwest.HTTPTransport(
            connect_timeout=upstream.connect_timeout_ms / 1000,
            pool_max_idle_per_host=upstream.slots,
            tls_include_system_certs=True,
            follow_redirects=False,
            enable_otel=False,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"upstream-{model}", daemon=True)
        self._thread.start()

    def generate(self, generation: Generation, emit: Emit) -> None:
        """Forward and hand back. Raises `InvalidInputError` for what the other server refuses to take,
        `ModelFailedError` for what is its operator's affair, `OverloadedError` where it is away, silent or too busy.
        """
        permit = self._admit()
        result = Result.UNKNOWN
        try:
            self._forward(generation, emit)
            result = Result.SUCCEEDED
        except _StoppedError:
            pass
        except OverloadedError:
            result = Result.FAILED
            raise
        except AirserveError:
            # It answers, if not as one would like.
            result = Result.SUCCEEDED
            raise
        finally:
            with self._lock:
                self._breaker.settle(permit, result, time.monotonic_ns())

    def close(self) -> None:
        """Close every connection."""
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(_closed(self._transport), self._loop).result(_PAUSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _admit(self) -> Permit:
        now_ns = time.monotonic_ns()
        with self._lock:
            permit, wait_ns = self._breaker.admit(now_ns), self._breaker.wait_ns(now_ns)
        if permit is None:
            raise OverloadedError(
                "the server behind this model has failed several times in a row and is left alone for a while",
                retry_after=max(1.0, wait_ns / 1e9),
            )
        return permit

    def _forward(self, generation: Generation, emit: Emit) -> None:
        response = self._respond(generation, emit)
        chunks = UpstreamChunks(chat=generation.chat)
        try:
            content, buffer = aiter(response.content), b""
            while not chunks.done and (data := self._wait(self._next(content), emit, chunks.tokens)) is not None:
                events, buffer = take_events(buffer + data)
                if len(buffer) > _MAX_EVENT_BYTES:
                    raise ModelFailedError("the server behind this model answered what is no stream of events")
                for event in events:
                    piece = chunks.take(event)
                    if piece is not None and not emit(piece):
                        raise _StoppedError
        finally:
            # An answer that was not read to its end must not go on being made.
            asyncio.run_coroutine_threadsafe(_closed(response), self._loop)
        emit(chunks.final())

    def _respond(self, generation: Generation, emit: Emit) -> pyqwest.Response:
        """An answer that has begun, after as many tries as are allowed; nothing of it has been read."""
        backoff_s = _FIRST_BACKOFF_S
        for tries_left in range(self._upstream.retries, -1, -1):
            pause_s = backoff_s
            response = self._wait(self._open(generation), emit)
            if response is None:
                error: AirserveError = self._away("it cannot be reached")
            elif response.status == 200:
                return response
            else:
                error = self._refusal(response, emit)
                if response.status not in _RETRIED:
                    raise error
                pause_s = max(backoff_s, error.retry_after or 0)
            if not tries_left or pause_s > _LONGEST_BACKOFF_S:
                raise error
            self._wait(asyncio.sleep(pause_s), emit)
            backoff_s *= 2
        raise AssertionError("unreachable: the last try returns or raises")

    async def _open(self, generation: Generation) -> pyqwest.Response | None:
        """The answer, or None where there is no connection, and so nothing has been asked yet."""
        url = self._upstream.url.rstrip("/") + ("/chat/completions" if generation.chat else "/completions")
        headers = pyqwest.Headers([("content-type", "application/json"), ("accept", "text/event-stream")])
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        body = {
            **generation.parameters,
            "model": self._upstream.model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        request = pyqwest.Request("POST", url, headers, msgspec.json.encode(body))
        async with asyncio.timeout(self._upstream.silence_timeout_ms / 1000):
            try:
                return await self._transport.execute(request)
            except ConnectionError:
                return None

    async def _next(self, content: AsyncIterator[Any]) -> bytes | None:
        async with asyncio.timeout(self._upstream.silence_timeout_ms / 1000):
            data = await anext(content, None)
        return None if data is None else bytes(data)

    def _wait(self, what: Coroutine[Any, Any, _T], emit: Emit, tokens: TokenCounts = _NONE) -> _T:
        """The result of a step on the loop; asks every quarter of a second whether anybody still wants it."""
        future = asyncio.run_coroutine_threadsafe(what, self._loop)
        while not wait([future], _STEP_S).done:
            if not emit(Piece(tokens=tokens)):
                future.cancel()
                raise _StoppedError
        try:
            return future.result()
        except TimeoutError:
            raise self._away(f"it was silent for {self._upstream.silence_timeout_ms} ms") from None
        except (OSError, pyqwest.ReadError, pyqwest.WriteError, pyqwest.RemoteProtocolError, pyqwest.StreamError):
            raise self._away("it broke off") from None

    def _away(self, why: str) -> OverloadedError:
        log.warning("upstream failed", model=self._model, url=self._upstream.url, reason=why)
        return OverloadedError(f"the server behind this model does not answer: {why}; try again", retry_after=1.0)

    def _refusal(self, response: pyqwest.Response, emit: Emit) -> AirserveError:
        """What an answer other than 200 means for whoever called us."""
        message = self._message(response, emit)
        status = response.status
        log.warning("upstream refused", model=self._model, url=self._upstream.url, status=status, reason=message)
        if status in _OPERATORS or status < 400:
            return ModelFailedError(
                f"the server behind this model answered {status}, which the operator of this service has to see to"
            )
        if status in (408, 429) or status >= 500:
            return OverloadedError(
                f"the server behind this model cannot take the call now (it answered {status}); try again",
                retry_after=_seconds(response.headers.get("retry-after")),
            )
        return InvalidInputError(f"the model cannot take this request: {message}")

    def _message(self, response: pyqwest.Response, emit: Emit) -> str:
        content, body = aiter(response.content), b""
        while len(body) < _MAX_ERROR_BYTES and (data := self._wait(self._next(content), emit)) is not None:
            body += data
        asyncio.run_coroutine_threadsafe(_closed(response), self._loop)
        return _message_in(body.replace(self._key.encode(), b"...") if self._key else body)


def load(source: Source, *, threads: int) -> Generator:
    """The server that a package points at. It is asked nothing until the first call."""
    upstream = source.upstream
    if upstream is None:
        raise BadPackageError("the engine 'openai' needs a section [upstream] with url and model")
    key = None
    if upstream.key_variable is not None:
        key = os.environ.get(upstream.key_variable)
        if not key:
            raise BadPackageError(
                f"the key for {upstream.url} is not set: start the service with the variable {upstream.key_variable}"
            )
    return UpstreamGenerator(upstream, source.model, key)


async def _closed(what: pyqwest.Response | pyqwest.HTTPTransport) -> None:
    with suppress(Exception):
        await what.aclose()


def _message_in(body: bytes) -> str:
    """The sentence in an error of OpenAI's form, or in one of the forms that others have."""
    with suppress(msgspec.DecodeError, AttributeError):
        document = msgspec.json.decode(body, type=dict[str, Any])
        error = document.get("error") or document.get("detail") or document.get("message")
        text = error.get("message") if isinstance(error, dict) else error
        if isinstance(text, str) and text.strip():
            return text.strip()[:300]
    return "no reason given"


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.strip().isdecimal() else None
