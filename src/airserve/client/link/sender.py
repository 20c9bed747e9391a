"""Requests over the link as it is, and what each of them teaches about it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial

from airserve.client.calls import CallInProgress, Settings
from airserve.client.exchange import LIVE, HttpRequest, HttpResponse, Timings, timings
from airserve.client.link.estimate import Exchange, LinkEstimate
from airserve.client.link.flights import transfer_s
from airserve.client.link.network import NetworkWatch
from airserve.client.link.paths import Paths, Trip
from airserve.client.link.state import LinkView, NetworkState, view
from airserve.client.transport import no_answer
from airserve.core.errors import AirserveError, UnreachableError

_LEAST_PATIENCE_S = 0.4
_PROBE_S = 2.0
_KEEP_ALIVE_S = 8.0
_LOOKS_AFTER_S = 0.2
_GIVES_UP_AFTER_S = 15.0
# How long after its time an answer is still waited for, of how many calls, and how long such a body may take up.
_LATE_S = 1.0
_MOST_LATE = 4
_MOST_LATE_S = 0.2


class Sender:
    """One service over whichever network the device is on. All of it runs on one event loop."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self.settings, self.paths = settings, paths
        self._watch = NetworkWatch(settings.url)
        self._networks: dict[str, NetworkState] = {}
        self._address: str | None = None
        self._late: set[asyncio.Task[tuple[HttpResponse, Trip]]] = set()
        self.state = NetworkState()

    async def close(self) -> None:
        """Wait for no late answer any more."""
        for sending in self._late:
            sending.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    def enter(self) -> NetworkState:
        """The state of the network that the device is on now; connections of another one are given up."""
        address = self._watch.address()
        if address is None:
            self.state.unreachable = True
        elif address != self._address:
            if self._address is not None:
                self.paths.forget()
            self._address = address
            self.state = self._networks.setdefault(address, NetworkState())
            self.state.misses, self.state.unreachable = 0, False
        return self.state

    @property
    def view(self) -> LinkView:
        """What `client.link` shows."""
        return view(self._address, self.paths.preferred, self.state)

    async def call(self, request: HttpRequest, timeout_ms: float | None) -> tuple[HttpResponse, Timings, Trip]:
        """The good answer to `request`, after as many attempts as it takes and may take; raises the last refusal."""
        call = CallInProgress(self.settings, request, timeout_ms, time.monotonic())
        while True:
            began = time.monotonic()
            headers, timeout_s = call.send(began)
            state = self.state
            try:
                response, trip = await self._send(request, headers, timeout_s)
                if response.status != 200:
                    state.answered(trip.ended)
                told = call.received(response, time.monotonic())
                self._learn(state, trip, told)
                return response, told, trip
            except AirserveError as error:
                pause = call.pause(error, time.monotonic())
            await asyncio.sleep(pause)

    async def probe(self) -> None:
        """The smallest request: it wakes the radio, keeps the connection, and tells whether there is a link."""
        headers = self.settings.headers(LIVE, None)
        state = self.state
        response, trip = await self._send(LIVE, headers, _PROBE_S)
        self._learn(state, trip, timings(response, round_trip_s=trip.head_s, attempts=1))

    async def look(self) -> None:
        """Ask the smallest thing, a few times a second at most: calls that the link is too slow for teach nothing."""
        if self.state.idle_s(time.monotonic()) >= _LOOKS_AFTER_S:
            with suppress(AirserveError):
                await self.probe()

    async def watch_for_return(self) -> None:
        """Ask with growing pauses whether the service can be reached again; ends when it can, or nobody calls."""
        pause = 0.1
        while self.state.is_suspect and time.monotonic() - self.state.tried_at < _GIVES_UP_AFTER_S:
            try:
                self.enter()
                await self.probe()
            except AirserveError:
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)

    async def keep_warm(self, until: float) -> None:
        """Send something tiny whenever the link has been silent for 8 s, before its radio sleeps; ends `until`."""
        while (now := time.monotonic()) < until:
            silent_s = self.state.idle_s(now)
            if silent_s >= _KEEP_ALIVE_S or self.state.quiet_since is None:
                with suppress(AirserveError):
                    await self.probe()
                silent_s = 0.0
            await asyncio.sleep(max(0.05, min(_KEEP_ALIVE_S - silent_s, until - now)))

    async def _send(
        self, request: HttpRequest, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[HttpResponse, Trip]:
        """The answer, whatever its status. One that is late is waited for in the background, for what it teaches."""
        state, began = self.state, time.monotonic()
        connection, size = self.paths.connection(), len(request.body)
        setup, window = connection.setup_trips(began), connection.window(began, state.link.rtt_s)
        within_s = None if timeout_s is None else timeout_s + _LATE_S
        work = self.paths.send(request, headers, within_s, self._patience_s(size, window))
        sending = asyncio.get_running_loop().create_task(work)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(sending)
        except UnreachableError:
            state.misses += 1
            state.unreachable = True
            raise
        except (TimeoutError, AirserveError, asyncio.CancelledError) as error:
            # Out of time, or given up because another answer was there: at least so long would it have taken.
            state.misses += 1
            waits = len(self._late) < _MOST_LATE and size / state.link.up_rate < _MOST_LATE_S
            if waits and not sending.done():
                self._late.add(sending)
                sending.add_done_callback(partial(self._came_late, state))
            else:
                sending.cancel()
                ended = time.monotonic()
                state.link.late(ended, size, ended - began, window, setup)
            if isinstance(error, TimeoutError):
                raise no_answer(self.settings.url, error, timeout_s) from error
            raise

    def _came_late(self, state: NetworkState, sending: asyncio.Task[tuple[HttpResponse, Trip]]) -> None:
        self._late.discard(sending)
        if not sending.cancelled() and sending.exception() is None:
            response, trip = sending.result()
            if response.status != 200:
                state.answered(trip.ended)
                return
            self._learn(state, trip, timings(response, round_trip_s=trip.head_s, attempts=1))

    def _patience_s(self, size: int, window: float) -> float:
        """After how much silence another connection is tried: what nearly every call needs, and half as much again."""
        expected = _expected_s(self.state.link, size, window, 0.0)
        return max(_LEAST_PATIENCE_S, 1.5 * self.state.link.spread * expected + 3 * self.state.link.rtt_s)

    def _learn(self, state: NetworkState, trip: Trip, told: Timings) -> None:
        link, service_s = state.link, (told.queue_ms + told.compute_ms) / 1000
        head_s = max(trip.head_s - service_s, 1e-5)
        idle_s = state.idle_s(trip.began)
        expected = _expected_s(link, trip.up_bytes, trip.window, trip.setup_trips) + link.wake_s(idle_s)
        self.paths.learn(trip.kind, expected, head_s)
        link.add(
            Exchange(
                at=trip.ended,
                up_bytes=trip.up_bytes,
                down_bytes=trip.down_bytes,
                head_s=head_s,
                body_s=trip.body_s,
                idle_s=idle_s,
                window=trip.window,
                setup_trips=trip.setup_trips,
            )
        )
        state.answered(trip.ended)


def _expected_s(link: LinkEstimate, size: int, window: float, setup_trips: float) -> float:
    return (1 + setup_trips) * link.rtt_s + transfer_s(size, window, link.rtt_s, link.up_rate)
