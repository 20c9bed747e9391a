"""Which sealed calls were taken already. Sans-IO: time comes in as an argument, in nanoseconds of UTC."""

from __future__ import annotations

import hashlib
import heapq

from airserve.core.errors import OverloadedError, SealedReplayError


class ReplayCache:
    """Remembers at most `capacity` calls, each until its time is up and nobody would take it anyway.

    Asked only after a seal has been opened: otherwise anybody could fill it.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._seen: set[bytes] = set()
        self._ends: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._seen)

    def take(self, enc: bytes, ends_ns: int, now_ns: int) -> None:
        """Note the call with this encapsulated key, which would be refused as too old after `ends_ns`.

        Raises `SealedReplayError` for one that was taken before, `OverloadedError` where there is no room.
        """
        while self._ends and self._ends[0][0] < now_ns:
            self._seen.discard(heapq.heappop(self._ends)[1])
        digest = hashlib.sha256(enc).digest()[:16]
        if digest in self._seen:
            raise SealedReplayError("this sealed call was taken before, and is not taken again; seal the call anew")
        if len(self._seen) >= self._capacity:
            raise OverloadedError("too many sealed calls in the last two minutes; come back", retry_after=5.0)
        self._seen.add(digest)
        heapq.heappush(self._ends, (ends_ns, digest))

    def clear(self) -> None:
        """Forget all, once the keys that they were sealed to are gone."""
        self._seen.clear()
        self._ends.clear()
