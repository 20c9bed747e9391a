"""What services offer for models: known from before, kept on the disk, or asked for."""

from __future__ import annotations

import asyncio
import time

import msgspec

from airserve.client.link.ask import Ask
from airserve.client.link.offer import Offer, offer_request, parse_offer
from airserve.client.link.places import Places
from airserve.client.link.sender import Sender
from airserve.core.errors import DeadlineExceededError, NotFoundError, UnreachableError

_OFFER_S = 10.0


class Offers:
    """The offers of one service. Old ones are asked for again beside the calls that use them."""

    def __init__(self, sender: Sender, places: Places) -> None:
        self._sender, self._places = sender, places

    async def of(self, ask: Ask) -> Offer:
        """What is known, or is told within half of the call's time; nothing but the service itself otherwise."""
        offer, fresh = self._places.offer(ask.model, ask.version)
        if offer is not None:
            name = f"offer of {ask.model}"
            if not fresh and not self._sender.state.is_suspect and not self._places.is_running(name):
                self._places.start(name, self.ask(ask.model, ask.version))
            return offer
        budget_s = _OFFER_S if ask.deadline_s is None else ask.deadline_s
        budget_s = budget_s if ask.timeout_ms is None else min(budget_s, ask.timeout_ms / 1000)
        try:
            async with asyncio.timeout(max(0.0, ask.began + budget_s / 2 - time.monotonic())):
                return await self.ask(ask.model, ask.version)
        except NotFoundError:
            # A service of before, or no such model: the call itself will tell what is wrong.
            self._places.learn_nothing(ask.model, ask.version)
        except (UnreachableError, DeadlineExceededError, TimeoutError):
            pass
        return Offer(ask.model)

    async def ask(self, model: str, version: str | None) -> Offer:
        """Ask the service. Raises what it refuses with."""
        response, _, _ = await self._sender.call(offer_request(model, version), _OFFER_S * 1000)
        # Under the name that the caller uses, which may be an alias.
        offer = msgspec.structs.replace(parse_offer(response.body), model=model)
        self._places.learn(offer, version)
        return offer
