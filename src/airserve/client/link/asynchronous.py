"""The link-aware methods of `AsyncClient`."""

from __future__ import annotations

from collections.abc import Callable

from airserve.client.link.answer import Answer
from airserve.client.link.ask import Ask
from airserve.client.link.caller import LinkCaller
from airserve.client.link.outcome import Prepared
from airserve.client.link.state import LinkView


class AsyncLinkMethods:
    """What `AsyncClient` has for mobile links."""

    def __init__(self, make: Callable[[], LinkCaller]) -> None:
        self._make_caller = make
        self._caller: LinkCaller | None = None

    @property
    def link(self) -> LinkView:
        """See `Client.link`."""
        return self._link_caller().view

    async def warm(self) -> None:
        """See `Client.warm`."""
        await self._link_caller().warm()

    async def keep_warm(self, seconds: float) -> None:
        """See `Client.keep_warm`."""
        await self._link_caller().keep_warm(seconds)

    async def prepare(self, model: str, *, version: str | None = None) -> Prepared:
        """See `Client.prepare`."""
        return await self._link_caller().prepare(model, version)

    async def _adapted(self, ask: Ask) -> Answer:
        return await self._link_caller().infer(ask)

    def _link_caller(self) -> LinkCaller:
        if self._caller is None:
            self._caller = self._make_caller()
        return self._caller

    async def _close_link(self) -> None:
        caller, self._caller = self._caller, None
        if caller is not None:
            await caller.close()
