"""The keeper: one thread that follows what changes outside the request path.

Every quarter of a second it asks the database whether anybody changed what servers keep snapshots of: a key revoked, a
version published, a price set, from this process or any other. Then it takes new snapshots. A revoked key therefore
stops working within a second. While the database is away, the last snapshots serve on. Once a minute it writes what
can wait that long, such as when each key was last used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from airserve.core.errors import OverloadedError

log = structlog.get_logger("airserve.server")

_LOOK_EVERY_S = 0.25
_MINUTE_S = 60.0


class Keeper:
    """Calls `refresh` when `change_counter` changes, and `each_minute`, on a thread of its own."""

    def __init__(
        self, change_counter: Callable[[], int], refresh: Callable[[], None], each_minute: Callable[[], object]
    ) -> None:
        self._change_counter = change_counter
        self._refresh = refresh
        self._each_minute = each_minute
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
        seen, away, due = -1, False, time.monotonic() + _MINUTE_S
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                counter = self._change_counter()
                if counter != seen:
                    # The counter is read first: a commit during the refresh is seen at the next look.
                    self._refresh()
                    seen = counter
                if time.monotonic() >= due:
                    due += _MINUTE_S
                    self._each_minute()
                if away:
                    log.info("the database answers again")
                away = False
            except OverloadedError as error:
                if not away:
                    log.warning("serving on with the last keys, prices and models", reason=error.message)
                away = True
            except Exception:
                # Its disk may be full; calls go on and the next look tries again.
                log.exception("keeper failed, trying again")
