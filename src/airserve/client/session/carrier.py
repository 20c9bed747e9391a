"""Frames over one line, and over another when that is silent: each under its own call id."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from airserve.client.calls import Settings
from airserve.client.exchange import LIVE, HttpResponse, timings
from airserve.client.link.network import NetworkWatch
from airserve.client.session.frame import Sent
from airserve.client.session.line import Line, Ways
from airserve.client.session.pacer import Pacer
from airserve.client.session.search import ATTEMPT_S, EVERY_S, Found, search
from airserve.core.errors import AirserveError, DeadlineExceededError

KEEP_ALIVE_S = 8.0
"""A radio sleeps after some ten seconds of silence: so the smallest request is sent before."""

SMALL_BYTES = 1100
"""Frames of one packet may be what a search asks with: more, many times over, would fill a link that is only slow."""

_NOBODY_CALLS_S = 10.0
_AT_FIRST_S = 0.4
_SLOWLY_S = 1.0


class Carrier:
    """The way to the service. All of it runs on one event loop.

    `on_answer` is told what came for a frame, once; `on_lost` that nothing will come. `newest` gives the frame that a
    search may ask with: one that is still wanted.
    """

    def __init__(
        self,
        settings: Settings,
        ways: Ways,
        deadline_s: float,
        *,
        newest: Callable[[], Sent | None],
        on_answer: Callable[[Sent, HttpResponse, str], None],
        on_lost: Callable[[Sent], None],
        on_change: Callable[[], None],
    ) -> None:
        self._settings, self._ways, self._deadline_s = settings, ways, deadline_s
        self._newest, self._on_answer, self._on_lost, self._on_change = newest, on_answer, on_lost, on_change
        self._watch = NetworkWatch(settings.url)
        self._network: str | None = None
        self._searching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent_since = self._searching_since = 0.0
        self.line: Line | None = None
        self.pacer = Pacer()
        self.unanswered: dict[int, Sent] = {}
        self.again: deque[Sent] = deque()
        self.wanted_at = time.monotonic()
        self.used_at = 0.0
        self.resumptions = 0
        self.outage_s = 0.0

    @property
    def is_up(self) -> bool:
        """Whether a line stands, as far as is known."""
        return self.line is not None and self._searching is None

    def look(self, now: float) -> None:
        """Begin to search where the line is silent for too long, or the device is on another network."""
        for sent in list(self.unanswered.values()):
            if self.left_s(sent) < -self.pacer.patience_s:
                self.give_up(sent)
        if self._searching is not None:
            return
        silent_at = self.pacer.silent_at()
        address = self._watch.address()
        if self.line is None or address != self._network or (silent_at is not None and now >= silent_at):
            self.search(now)
        elif now - max(self.used_at, self.pacer.heard_at) >= KEEP_ALIVE_S:
            self.used_at = now
            self._start(self._keep_alive(self.line))

    def search(self, now: float) -> None:
        """Look for another line, beside the one that is perhaps gone."""
        if self._searching is None:
            self._silent_since, self._searching_since = self.pacer.heard_at or now, now
            self._searching = asyncio.get_running_loop().create_task(self._resume())
            self._on_change()

    def send(self, sent: Sent) -> None:
        """Let a frame leave over the line that stands."""
        if self.line is not None:
            self.used_at = now = time.monotonic()
            self.unanswered[sent.frame.number] = sent
            self.pacer.sent(sent, now)
            self._start(self._carry(sent, self.line))

    def give_up(self, sent: Sent) -> None:
        """A frame is not waited for any more."""
        self.pacer.lost(sent.frame.number)
        if self.unanswered.pop(sent.frame.number, None) is not None:
            self._on_lost(sent)

    def forget(self, number: int) -> None:
        """Somebody else has answered the frame."""
        self.unanswered.pop(number, None)

    async def close(self) -> None:
        """End all that is under way."""
        running = [*self._tasks, *([self._searching] if self._searching is not None else [])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self.line is not None:
            await self.line.close()

    def left_s(self, sent: Sent) -> float:
        """Seconds until the frame is too old."""
        return sent.frame.at + self._deadline_s - time.monotonic()

    async def _carry(self, sent: Sent, line: Line) -> None:
        left_s = max(self.left_s(sent), 0.001)
        try:
            # A while longer: the service itself refuses what is too late, and its word is worth something.
            response = await line.send(sent.request, self._headers(sent, left_s), left_s + self.pacer.answer_s)
        except DeadlineExceededError:
            if line is self.line:
                self.give_up(sent)
        except AirserveError:
            if line is self.line:
                self.search(time.monotonic())
        else:
            self._heard(line)
            self._answered(sent, response, line)

    def _heard(self, line: Line) -> None:
        """The line that was thought gone has spoken: it stands."""
        self.pacer.heard_at = time.monotonic()
        if line is self.line and self._searching is not None:
            self._searching.cancel()
            self._searching = None
            # What the search had asked with is not under way any more.
            self.again.extend(sent for number, sent in self.unanswered.items() if number not in self.pacer.in_flight)
            self._on_change()

    def _answered(self, sent: Sent, response: HttpResponse, line: Line) -> None:
        self.pacer.answered(sent, time.monotonic(), _service_s(response))
        if self.unanswered.pop(sent.frame.number, None) is not None:
            self._on_answer(sent, response, f"HTTP/{line.kind}")
        self._on_change()

    async def _keep_alive(self, line: Line) -> None:
        try:
            await line.send(LIVE, self._settings.headers(LIVE, None), 4 * self.pacer.patience_s)
            self.pacer.heard_at = time.monotonic()
        except AirserveError:
            if line is self.line:
                self.search(time.monotonic())

    async def _resume(self) -> None:
        """Find a line and let it carry on: what is young enough is sent again, under its call id and byte for byte."""
        found = await search(self._ways, self._ask, self._watch.address, self._every_s)
        now, old = time.monotonic(), self.line
        self._searching = None
        self._network = self._watch.address()
        if old is not None:
            self.resumptions += 1
            self.outage_s = now - self._silent_since
        self.line = found.line
        self.pacer.reset()
        self.pacer.heard_at = self.used_at = now
        self._start_over(found)
        if old is not None:
            await old.close()
        self._on_change()

    def _start_over(self, found: Found) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._tasks.clear()
        before = list(self.unanswered.values())
        self.again.clear()
        for sent in before:
            if found.sent is not None and sent.frame.number == found.sent.frame.number:
                continue
            if self.left_s(sent) > 0:
                self.again.append(sent)
            else:
                self.give_up(sent)
        if found.sent is not None:
            self._answered(found.sent, found.response, found.line)

    async def _ask(self, line: Line) -> tuple[HttpResponse, Sent | None]:
        """One attempt of the search: with the newest frame where it is small, else with the least there is."""
        sent = self._newest()
        if sent is None or sent.size > SMALL_BYTES:
            return await line.send(LIVE, self._settings.headers(LIVE, None), self._attempt_s()), None
        self.unanswered.setdefault(sent.frame.number, sent)
        sent.attempts += 1
        headers = self._headers(sent, max(self.left_s(sent), 0.001))
        return await line.send(sent.request, headers, self._attempt_s()), sent

    def _attempt_s(self) -> float:
        return max(ATTEMPT_S, 6 * self.pacer.rtt_s)

    def _every_s(self) -> float:
        now = time.monotonic()
        if now - self.wanted_at > _NOBODY_CALLS_S:
            return _SLOWLY_S
        # A link that is only slow has to carry the attempts too.
        return EVERY_S if now - self._searching_since < _AT_FIRST_S else 2 * EVERY_S

    def _headers(self, sent: Sent, left_s: float) -> dict[str, str]:
        return self._settings.headers(sent.request, left_s * 1000)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _service_s(response: HttpResponse) -> float:
    told = timings(response, round_trip_s=0.0, attempts=1)
    return (told.queue_ms + told.compute_ms) / 1000
