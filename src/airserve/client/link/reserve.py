"""A call with the device in reserve: whether to wait for the cloud at all, and until when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from airserve.client.link.ask import Ask
from airserve.client.link.fallback import MARGIN, first_answer, lets_device_answer
from airserve.client.link.outcome import Outcome
from airserve.client.link.places import Places
from airserve.client.link.plan import Choice, Option
from airserve.client.link.sender import Sender
from airserve.core.errors import AirserveError

Work = Callable[[], Coroutine[Any, Any, Outcome]]

_LEAST_MARGIN_S = 0.005
_LIKELY_ENOUGH = 0.06
_TRIES_AGAIN_S = 0.5
# Where the cloud needs so many deadlines it is not waited for, whatever the odds once were.
_FAR = 3.0
# Attempts that come to nothing may take this part of the link.
_MOST_OF_LINK = 0.25


class Reserve:
    """Decides for one client. A call that nobody waits for is not sent: what is answered in the cloud is charged."""

    def __init__(self, sender: Sender, places: Places) -> None:
        self._sender, self._places = sender, places

    async def answer(self, ask: Ask, choice: Choice, here: Option, cloud: Work, device: Work) -> Outcome:
        """The cloud's answer if it comes in time, else the device's, which is `here`."""
        prediction, state = choice.option.prediction, self._sender.state
        key = (ask.model, ask.deadline_s)
        if state.is_suspect:
            self._ask_beside(self._sender.watch_for_return)
            return await device()
        if ask.deadline_s is None:
            due_s = None
        else:
            due_s = ask.deadline_s - max(_LEAST_MARGIN_S, MARGIN * ask.deadline_s)
            if not self._worth_waiting(state.odds.of(key), prediction.p50_s, prediction.network_s, ask.deadline_s):
                self._ask_beside(self._sender.look)
                return await device()
        known = state.odds

        async def judged() -> Outcome:
            try:
                outcome = await cloud()
            except (AirserveError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) or lets_device_answer(error):
                    known.learn(key, in_time=False)
                raise
            known.learn(key, in_time=True)
            return outcome

        return await first_answer(
            judged,
            device,
            began=ask.began,
            due_s=due_s,
            cloud_p95_s=prediction.p95_s,
            late=not choice.in_time,
            device_p95_s=here.prediction.p95_s,
        )

    def _worth_waiting(self, odds: float, p50_s: float, network_s: float, deadline_s: float) -> bool:
        since_s = time.monotonic() - self._sender.state.attempted_at
        if p50_s > _FAR * deadline_s:
            return since_s > max(2 * _TRIES_AGAIN_S, network_s / _MOST_OF_LINK)
        return odds >= _LIKELY_ENOUGH or since_s > _TRIES_AGAIN_S

    def _ask_beside(self, how: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._places.is_running("look"):
            self._places.start("look", how())
