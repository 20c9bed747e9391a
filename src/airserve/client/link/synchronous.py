"""The link-aware methods of `Client`: an event loop in a thread does the work, so that calls can be cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable

from airserve.client.link.answer import Answer
from airserve.client.link.ask import Ask
from airserve.client.link.caller import LinkCaller
from airserve.client.link.loop_thread import LoopThread
from airserve.client.link.outcome import Prepared
from airserve.client.link.state import LinkView


class LinkMethods:
    """What `Client` has for mobile links. The thread starts with the first call that asks for any of it."""

    def __init__(self, make: Callable[[], LinkCaller]) -> None:
        self._make_caller = make
        self._started: tuple[LoopThread, LinkCaller] | None = None
        self._starting = threading.Lock()

    @property
    def link(self) -> LinkView:
        """The link as this client's own calls have shown it; nothing is sent to find out."""
        _, caller = self._link_caller()
        return caller.view

    def warm(self) -> None:
        """Wake the radio and open the connection, at the hint of a call to come. Never raises."""
        thread, caller = self._link_caller()
        thread.run(caller.warm())

    def keep_warm(self, seconds: float) -> None:
        """Send something tiny whenever nothing was sent for 8 s, for `seconds` from now: the radio does not sleep."""
        thread, caller = self._link_caller()
        thread.run(caller.keep_warm(seconds))

    def prepare(self, model: str, *, version: str | None = None) -> Prepared:
        """Fetch what the device can run of `model`, check it, and time it. What was fetched before is not again.

        Raises what `infer` raises, and `InvalidInputError` where `airserve[device]` is not installed.
        """
        thread, caller = self._link_caller()
        return thread.run(caller.prepare(model, version))

    def _adapted(self, ask: Ask) -> Answer:
        thread, caller = self._link_caller()
        return thread.run(caller.infer(ask))

    def _link_caller(self) -> tuple[LoopThread, LinkCaller]:
        with self._starting:
            if self._started is None:
                self._started = LoopThread(), self._make_caller()
            return self._started

    def _close_link(self) -> None:
        with self._starting:
            started, self._started = self._started, None
        if started is not None:
            thread, caller = started
            thread.run(caller.close())
            thread.close()
