"""How requests travel: over HTTP/2 or HTTP/3, raced while it is not known which, remembered, hedged against silence."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pyqwest

from airserve.client.exchange import HttpRequest, HttpResponse
from airserve.client.link.connection import Connection
from airserve.client.transport import NETWORK_ERRORS, Pem, lower_headers, no_answer, open_transport
from airserve.core.errors import AirserveError

RACE_AFTER_S = 0.275
"""How long HTTP/3 may be silent before HTTP/2 is tried beside it: some networks let no UDP through."""

_REVISIT = 0.015
_WORTH_CHANGING = 0.05
_BULK_BYTES = 1_000_000
# The loser of a race is given these requests too: being first once is not being faster.
_TRIALS = (4, 8, 12)


@dataclass(frozen=True, slots=True)
class Trip:
    """What was seen of one answered request; times in seconds, `began` and `ended` on the monotonic clock."""

    kind: str
    began: float
    head_s: float
    body_s: float
    setup_trips: float
    window: float
    up_bytes: int
    down_bytes: int

    @property
    def ended(self) -> float:
        """When the last byte was there."""
        return self.began + self.head_s + self.body_s


class _Way:
    """One transport and what is assumed of its connection."""

    def __init__(self, http: str, ca: Pem | None, certificate: tuple[Pem, Pem] | None, *, encrypted: bool) -> None:
        self.connection = Connection(http if http != "auto" else "1.1", encrypted=encrypted)
        self.transport = open_transport(pyqwest.HTTPTransport, http, ca, certificate)
        self.client = pyqwest.Client(self.transport)


class Paths:
    """The ways to one service. All of it runs on one event loop."""

    def __init__(
        self,
        url: str,
        http: str,
        ca: Pem | None,
        certificate: tuple[Pem, Pem] | None,
        *,
        seed: int | None = None,
    ) -> None:
        self.url = url
        self._ca, self._certificate = ca, certificate
        encrypted = url.startswith("https://")
        self.kinds: tuple[str, ...] = (http,) if http != "auto" else ("3", "2") if encrypted else ("1.1",)
        self._encrypted = encrypted
        self._ways: dict[str, _Way] = {}
        self._old: list[_Way] = []
        self._scores: dict[str, float] = {}
        self._sent = 0
        self._kept = ""
        self._common = 0.0
        self._random = random.Random(seed)  # noqa: S311  # no secret

    @property
    def preferred(self) -> str | None:
        """The kind that answers best on this network; None before the first answer."""
        if not self._scores:
            return None
        best = min(self._scores, key=lambda kind: self._scores[kind])
        kept = self._kept
        if kept in self._scores and self._scores[kept] <= self._scores[best] + _WORTH_CHANGING:
            return kept
        self._kept = best
        return best

    def connection(self) -> Connection:
        """The connection that the next request will most likely take."""
        return self._way(self.preferred or self.kinds[0]).connection

    def learn(self, kind: str, expected_s: float, seen_s: float) -> None:
        """A request over `kind` was expected to take `expected_s` and took `seen_s`."""
        ratio = max(-1.0, min(math.log(max(seen_s, 1e-6) / max(expected_s, 1e-6)), 1.0))
        # A link that has become slower is no fault of the kind that is used: each is held against all.
        own = ratio - self._common
        self._common += 0.3 * own
        self._scores[kind] = self._scores.get(kind, 0.0) * 0.88 + 0.12 * own

    def forget(self) -> None:
        """Another network: no connection stands, and which kind is best has to be seen anew."""
        self._scores.clear()
        self._sent, self._common = 0, 0.0
        for kind in list(self._ways):
            self._renew(kind)

    async def send(
        self, request: HttpRequest, headers: Mapping[str, str], timeout_s: float | None, patience_s: float
    ) -> tuple[HttpResponse, Trip]:
        """The first answer of the ways that are tried: the best, and another after `patience_s` of silence.

        All attempts carry the same headers, so the same call id: the service runs the call once. Raises
        `UnreachableError` and `DeadlineExceededError`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._race(request, dict(headers), self._order(len(request.body), patience_s))
        except NETWORK_ERRORS as error:
            raise no_answer(self.url, error, timeout_s) from error

    @asynccontextmanager
    async def download(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[pyqwest.Response]:
        """An answer to be read as it comes. Raises `UnreachableError`."""
        way = self._way("2" if "2" in self.kinds else self.kinds[0])
        try:
            async with way.client.stream("GET", self.url + path, dict(headers)) as response:
                yield response
        except NETWORK_ERRORS as error:
            raise no_answer(self.url, error, None) from error

    async def close(self) -> None:
        """Close all connections."""
        for way in (*self._ways.values(), *self._old):
            with suppress(*NETWORK_ERRORS):
                await way.transport.aclose()
        self._ways.clear()
        self._old.clear()

    def _order(self, size: int, patience_s: float) -> list[tuple[str, float]]:
        """Which ways to try, each after how many seconds of silence."""
        if len(self.kinds) == 1:
            return [(self.kinds[0], 0.0), (self.kinds[0], patience_s)]
        best = self.preferred
        self._sent += 1
        if best is None:
            return [(self.kinds[0], 0.0), (self.kinds[1], RACE_AFTER_S)]
        other = next(kind for kind in self.kinds if kind != best)
        # On fast clean links HTTP/3 is slower with bulk; and what was not looked at for long is looked at again.
        trial = self._sent in _TRIALS or self._random.random() < _REVISIT
        if (best == "3" and size > _BULK_BYTES) or trial:
            best, other = other, best
        return [(best, 0.0), (other, patience_s)]

    async def _race(
        self, request: HttpRequest, headers: dict[str, str], order: Sequence[tuple[str, float]]
    ) -> tuple[HttpResponse, Trip]:
        loop = asyncio.get_running_loop()
        began, waiting = loop.time(), list(order)
        tasks: set[asyncio.Task[tuple[HttpResponse, Trip]]] = set()
        failure: BaseException | None = None
        tried: set[str] = set()
        try:
            while waiting or tasks:
                due = waiting and (not tasks or loop.time() - began >= waiting[0][1])
                if due:
                    kind, _ = waiting.pop(0)
                    if kind in tried:
                        self._renew(kind)
                    tried.add(kind)
                    tasks.add(loop.create_task(self._once(kind, request, headers)))
                    continue
                left = max(0.0, waiting[0][1] - (loop.time() - began)) if waiting else None
                done, tasks = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if (error := task.exception()) is None:
                        return task.result()
                    failure = error
        finally:
            for task in tasks:
                task.cancel()
        raise failure or AirserveError("no way to the service is left")

    async def _once(self, kind: str, request: HttpRequest, headers: dict[str, str]) -> tuple[HttpResponse, Trip]:
        way = self._way(kind)
        began = time.monotonic()
        setup_trips, window = way.connection.setup_trips(began), way.connection.window(began, 0.05)
        url = self.url + request.path
        try:
            content = request.body if request.method == "POST" else None
            async with way.client.stream(request.method, url, headers, content) as response:
                head_at = time.monotonic()
                body = b"".join([bytes(part) async for part in response.content])
                answer = HttpResponse(response.status, lower_headers(response.headers), body)
        except NETWORK_ERRORS:
            way.connection.lost()
            raise
        ended = time.monotonic()
        way.connection.carried(len(request.body), ended, 0.05)
        trip = Trip(kind, began, head_at - began, ended - head_at, setup_trips, window, len(request.body), len(body))
        self._scores.setdefault(kind, 0.0)
        return answer, trip

    def _way(self, kind: str) -> _Way:
        if kind not in self._ways:
            self._ways[kind] = _Way(kind, self._ca, self._certificate, encrypted=self._encrypted)
        return self._ways[kind]

    def _renew(self, kind: str) -> None:
        """A fresh connection next time; the old one is left to the calls that still wait on it."""
        if (old := self._ways.pop(kind, None)) is not None:
            self._old = [*self._old[-3:], old]
