"""Keys that are none, by the address that they came from: who tries one after another is told to wait.

A good key is never slowed, wherever it comes from: only refusals are counted. The limit is a GCRA (ITU-T I.371; one
number for each address), over as many addresses as were seen last, so that guessing cannot grow the server.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from airserve.core.errors import RateLimitedError
from airserve.server.addresses import is_own

_SECOND_NS = 1_000_000_000
_MAX_ADDRESSES = 10_000


class Guesses:
    """`burst` refused keys of one address at once, and one more each `interval_ns`.

    The machine's own addresses are free: a proxy of the operator's stands for many clients. Safe for threads.
    """

    def __init__(self, burst: int = 50, interval_ns: int = _SECOND_NS, addresses: int = _MAX_ADDRESSES) -> None:
        self._interval_ns = interval_ns
        self._tolerance_ns = burst * interval_ns
        self._most = addresses
        self._due: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, address: str, now_ns: int) -> RateLimitedError | None:
        """One more key of `address` was refused; what to answer instead, where there were too many.

        `now_ns` is on the clock of `time.monotonic_ns`.
        """
        if is_own(address):
            return None
        with self._lock:
            due = max(now_ns, self._due.pop(address, 0)) + self._interval_ns
            wait_ns = due - now_ns - self._tolerance_ns
            self._due[address] = due if wait_ns <= 0 else due - self._interval_ns
            if len(self._due) > self._most:
                self._due.popitem(last=False)
        if wait_ns <= 0:
            return None
        return RateLimitedError(
            "too many keys that are not known came from your address; wait, and check the key that your program sends",
            retry_after=wait_ns / _SECOND_NS,
        )

    def __len__(self) -> int:
        return len(self._due)
