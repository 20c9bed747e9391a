"""A session: frames leave as the link takes them, the newest first, and their answers come as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from airserve.client.calls import Settings
from airserve.client.exchange import HttpResponse, outputs_of, raise_for, timings, variant_of
from airserve.client.link.answer import Told
from airserve.client.link.coding import decoded
from airserve.client.link.fallback import MARGIN, PASSING
from airserve.client.link.flights import INITIAL_WINDOW
from airserve.client.link.offer import Offer
from airserve.client.link.plan import RAW
from airserve.client.session.adapter import Adapter
from airserve.client.session.carrier import SMALL_BYTES, Carrier
from airserve.client.session.coder import Coder
from airserve.client.session.desk import Deliver, Desk
from airserve.client.session.device import DeviceSide
from airserve.client.session.frame import Frame, Sent
from airserve.client.session.line import Ways
from airserve.client.session.mailbox import Mailbox
from airserve.client.session.offer_asked import ask_offer
from airserve.client.session.options import SessionAsk
from airserve.client.session.stats import SessionStats
from airserve.core.errors import AirserveError, MissingReferenceError, UnreachableError

_OPENS_WITHIN_S = 10.0
_LOOKS_EVERY_S = 0.05
_FIRST_FRAME_BYTES = float(INITIAL_WINDOW)
_OFF_LOOP_BYTES = 64 << 10
_EARLIER = 0.8
"""Frames that come a little early for the rate are not held back: cameras are not exact."""


class Engine:
    """One session. All of it runs on one event loop, but for its `mailbox`, which any thread may fill."""

    def __init__(
        self, ask: SessionAsk, settings: Settings, ways: Ways, device: DeviceSide | None, deliver: Deliver
    ) -> None:
        self._ask, self._settings, self._device, self._deliver = ask, settings, device, deliver
        self.mailbox = Mailbox()
        self._desk = Desk(self.mailbox, ask.deadline_s, deliver)
        self._sent = self._resent = self._up_bytes = 0
        self._coder = Coder(ask.model, ask.version, ask.outputs, Offer(ask.model))
        self._adapter: Adapter | None = None
        self._resumed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._here: int | None = None
        self._next_at = self._pause_until = 0.0
        self._size = _FIRST_FRAME_BYTES
        self._ended = False
        self.carrier = Carrier(
            settings,
            ways,
            ask.deadline_s,
            newest=self._newest,
            on_answer=self._on_answer,
            on_lost=self._on_lost,
            on_change=self.wake,
        )

    async def open(self) -> None:
        """Connect and ask what the service offers for the model; then frames flow.

        Raises `UnreachableError` where no answer comes and the device cannot answer, and what is wrong with the key.
        """
        self.carrier.search(time.monotonic())
        if self._device is not None:
            self._start(self._device.prepare())
        try:
            await self._connected()
            if self.carrier.line is not None:
                offer = await ask_offer(self.carrier.line, self._settings, self._ask, _OPENS_WITHIN_S)
                self._coder = Coder(self._ask.model, self._ask.version, self._ask.outputs, offer)
        except AirserveError:
            await self.close()
            raise
        self._start(self._run())

    def wake(self) -> None:
        """Something may have to be done."""
        self._woken.set()

    def is_idle(self, given: int) -> bool:
        """Whether all frames that were `given` are answered or given up."""
        return self._desk.counts.answered + self._desk.counts.dropped >= given

    async def close(self) -> None:
        """End: what is under way is given up."""
        if self._ended:
            return
        self._ended = True
        running = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self.carrier.close()
        self._deliver(None)

    def stats(self, given: int, unread: int) -> SessionStats:
        """A picture of the moment."""
        now, counts, carrier, adapter = time.monotonic(), self._desk.counts, self.carrier, self._adapter
        rate, line = self._desk.meter.value(now), self.carrier.line
        full = adapter is not None and adapter.is_full(now)
        return SessionStats(
            given=given,
            sent=self._sent,
            resent=self._resent,
            answered=counts.answered,
            on_device=counts.on_device,
            dropped=counts.dropped,
            late=counts.late,
            unread=unread,
            up_bytes=self._up_bytes,
            rate=rate,
            advised_rate=min(self._ask.rate, rate) if full else self._ask.rate,
            resumptions=carrier.resumptions,
            outage_s=carrier.outage_s,
            reachable=carrier.is_up,
            transport="" if line is None else f"HTTP/{line.kind}",
            codec=RAW if adapter is None else adapter.codec,
            rtt_s=carrier.pacer.rtt_s,
            up=8 * carrier.pacer.rate,
            in_flight=len(carrier.pacer.in_flight),
        )

    async def _connected(self) -> None:
        """Return once a line stands, or the device can answer instead."""
        ends_at = time.monotonic() + _OPENS_WITHIN_S
        while self.carrier.line is None and time.monotonic() < ends_at:
            if self._device is not None and self._device.is_free:
                return
            self._woken.clear()
            await self._sleep(_LOOKS_EVERY_S)
        if self.carrier.line is None:
            raise UnreachableError(f"no answer from {self._settings.url} within {_OPENS_WITHIN_S:g} s")

    async def _run(self) -> None:
        try:
            while not self._ended:
                self._woken.clear()
                now = time.monotonic()
                self.carrier.look(now)
                self._count_replaced(now)
                if not await self._step(now):
                    pause_s = min(_LOOKS_EVERY_S, max(0.0, self._next_at - now)) or _LOOKS_EVERY_S
                    await self._sleep(pause_s)
        except Exception as error:
            await self._fail(error)

    async def _sleep(self, seconds: float) -> None:
        # `asyncio.wait_for` of Python 3.11 loses a cancellation that comes together with what it waits for.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _step(self, now: float) -> bool:
        """Do what can be done now; whether anything was."""
        carrier, waiting = self.carrier, self.mailbox.waiting
        if waiting is not None:
            carrier.wanted_at = now
            if now - waiting.at > self._ask.deadline_s:
                self._desk.drop_waiting()
                return True
        if not carrier.is_up:
            return self._to_the_device()
        if carrier.again:
            return self._send_again()
        if waiting is None or now < self._next_at or now < self._pause_until or not carrier.pacer.may_send(now):
            return False
        frame = self.mailbox.take()
        if frame is not None:
            self._next_at = now + _EARLIER / self._ask.rate
            sent = await self._encoded(frame)
            if carrier.is_up:
                self._leave(sent)
            else:
                self._desk.put_back(frame)
        return True

    def _send_again(self) -> bool:
        carrier = self.carrier
        sent = carrier.again[0]
        if sent.frame.number not in carrier.unanswered or carrier.left_s(sent) <= 0:
            carrier.again.popleft()
            carrier.give_up(sent)
        elif carrier.pacer.may_send(time.monotonic()):
            carrier.again.popleft()
            self._resent += 1
            self._up_bytes += sent.size
            carrier.send(sent)
        else:
            return False
        return True

    def _leave(self, sent: Sent) -> None:
        self._sent += 1
        self._up_bytes += sent.size
        self.carrier.send(sent)
        if self._device is not None and self._device.takes_s is not None:
            wait_s = self.carrier.left_s(sent) - MARGIN * self._ask.deadline_s - self._device.takes_s
            asyncio.get_running_loop().call_later(max(wait_s, 0.0), self._hedge, sent)

    def _hedge(self, sent: Sent) -> None:
        """The cloud has not answered in time: the device may still."""
        if sent.frame.number in self.carrier.unanswered and self._device is not None and self._device.is_free:
            self._start(self._on_device(sent.frame))

    def _to_the_device(self) -> bool:
        if self._device is None or not self._device.is_free:
            return False
        frame = self.mailbox.take()
        if frame is None:
            return False
        self._start(self._on_device(frame))
        return True

    async def _on_device(self, frame: Frame) -> None:
        assert self._device is not None  # noqa: S101 - asked where there is one
        self._desk.begin(frame)
        self._here = frame.number
        answer = await self._device.answer(frame)
        self._here = None
        if answer is not None and self._desk.give(frame, answer, Told(place="device", accuracy=answer.accuracy), 0):
            self.carrier.forget(frame.number)
        elif answer is None and frame.number not in self.carrier.unanswered:
            self._desk.drop(frame)
        self.wake()

    def _newest(self) -> Sent | None:
        """The frame that a search asks with: one under way while it is young, else the one that waits."""
        half_s = 0.5 * self._ask.deadline_s
        young = [each for each in self.carrier.unanswered.values() if self.carrier.left_s(each) > half_s]
        if young:
            return young[-1]
        if self._device is not None or self._adapter is None or self._size > SMALL_BYTES:
            return None
        frame = self.mailbox.take()
        if frame is None:
            return None
        self._coder.ask_key()
        sent = self._coder.encode(frame, self._adapter.codec)
        self._desk.begin(frame)
        self._sent += 1
        self._up_bytes += sent.size
        return sent

    async def _encoded(self, frame: Frame) -> Sent:
        self._desk.begin(frame)
        if self._resumed != self.carrier.resumptions:
            self._resumed = self.carrier.resumptions
            self._coder.ask_key()
        if self._adapter is None:
            rungs = await asyncio.to_thread(self._coder.rungs, frame.inputs, self._ask.accuracy)
            self._adapter = Adapter(rungs, self._ask.rate, first_flight=INITIAL_WINDOW)
        if self._size < _OFF_LOOP_BYTES and sum(array.nbytes for array in frame.inputs.values()) < _OFF_LOOP_BYTES:
            sent = self._coder.encode(frame, self._adapter.codec)
        else:
            sent = await asyncio.to_thread(self._coder.encode, frame, self._adapter.codec)
        self._size = sent.size
        return sent

    def _on_answer(self, sent: Sent, response: HttpResponse, transport: str) -> None:
        now = time.monotonic()
        try:
            raise_for(response)
        except MissingReferenceError:
            self._coder.ask_key()
            # It never ran, unless an attempt before did; then another body under its id would be another call.
            if sent.attempts > 1:
                self._desk.drop(sent.frame)
            else:
                self._desk.put_back(sent.frame)
            return
        except PASSING as refusal:
            self._pause_until = now + (refusal.retry_after or 0.0)
            self._held_up(now, held_up=True)
            self._desk.drop(sent.frame)
            return
        except AirserveError as error:
            self._start(self._fail(error))
            return
        self._coder.acknowledged(sent)
        late = now - sent.frame.at > self._ask.deadline_s
        self._held_up(now, held_up=late)
        variant, of_variant = variant_of(response)
        told = Told(
            codec=sent.codec,
            accuracy=None if sent.accuracy is None else sent.accuracy * (1.0 if of_variant is None else of_variant),
            variant=variant,
            replayed=response.headers.get("airserve-replayed") == "true",
            transport=transport,
            timings=timings(response, round_trip_s=now - sent.at, attempts=sent.attempts),
        )
        self._desk.give(sent.frame, outputs_of(response, decoded), told, sent.size)

    def _on_lost(self, sent: Sent) -> None:
        self._held_up(time.monotonic(), held_up=True)
        if sent.frame.number != self._here:
            self._desk.drop(sent.frame)

    def _count_replaced(self, now: float) -> None:
        replaced = self._desk.drop_replaced()
        if replaced and now >= self._next_at:
            for _ in range(replaced):
                self._held_up(now, held_up=True)

    def _held_up(self, now: float, *, held_up: bool) -> None:
        if self._adapter is None:
            return
        if self.carrier.is_up:
            self._adapter.seen(now, held_up=held_up, delivery_rate=self.carrier.pacer.rate)
        else:
            self._adapter.paused()

    async def _fail(self, error: Exception) -> None:
        """The session ends: something is wrong with the frames themselves, or the key."""
        if not self._ended:
            self._deliver(error)
        await self.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
