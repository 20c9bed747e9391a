"""The keeper: one thread that follows what changes outside the request path.

Every quarter of a second it asks the database whether anybody committed: a key revoked, a version published, a
price set, from this process or any other. Then it takes new snapshots. A revoked key therefore stops working within
a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger("airserve.server")

_LOOK_EVERY_S = 0.25


class Keeper:
    """Calls `refresh` when `change_counter` changes, on a thread of its own."""

    def __init__(self, change_counter: Callable[[], int], refresh: Callable[[], None]) -> None:
        self._change_counter = change_counter
        self._refresh = refresh
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Start following; whoever starts the keeper has just refreshed."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; blocks until the thread has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seen = -1
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                counter = self._change_counter()
                if counter != seen:
                    # The counter is read first: a commit during the refresh is seen at the next look.
                    self._refresh()
                    seen = counter
            except Exception:
                # The database may be busy or its disk full; calls go on and the next look tries again.
                log.exception("keeper failed, trying again")
