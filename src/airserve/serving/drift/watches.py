"""The watches of all versions of this process that have a baseline, and the one thread that they look at calls on.

A worker only hands a call over, and drops it where the thread is busy: decoding a picture may take as long as the
model does.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from airserve.core.call import Call, Reply
from airserve.serving.drift.watch import DriftWatch, watch_of
from airserve.serving.version import Key, Version

_WAITING = 4
_Seen = tuple[DriftWatch, Call, Reply]


@dataclass(frozen=True, slots=True)
class _Followed:
    version: Version
    watch: DriftWatch | None


class DriftWatches:
    """Follows the versions that are served. `follow` is for one thread at a time, everything else for any."""

    def __init__(self) -> None:
        self._followed: dict[Key, _Followed] = {}
        self._queue: queue.Queue[_Seen | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name="drift", daemon=True)
        self._thread.start()

    def follow(self, versions: Iterable[Version]) -> None:
        """Watch these versions and no others. Reads the packages of new ones: not for event loops."""
        followed = {}
        for version in versions:
            before = self._followed.get(version.key)
            known = before is not None and before.version is version
            followed[version.key] = before if known and before is not None else self._begin(version)
        self._followed = followed

    def of(self, key: Key) -> DriftWatch | None:
        """The watch over a version; None where its package has no baseline."""
        found = self._followed.get(key)
        return None if found is None else found.watch

    @property
    def watches(self) -> dict[Key, DriftWatch]:
        """All of them."""
        return {key: each.watch for key, each in self._followed.items() if each.watch is not None}

    def close(self) -> None:
        """End the thread; what waits is not looked at any more."""
        self._queue.put(None)
        self._thread.join()

    def _begin(self, version: Version) -> _Followed:
        watch = watch_of(version.spec)
        if watch is not None:
            # A closure that knows its watch: the version tells it of calls as long as it lives.
            version.taps.add(lambda call, reply: self._offer(watch, call, reply))
        return _Followed(version, watch)

    def _offer(self, watch: DriftWatch, call: Call, reply: Reply) -> None:
        if watch.rests:
            return
        try:
            self._queue.put_nowait((watch, call, reply))
        except queue.Full:
            # The next call will do as well.
            return

    def _work(self) -> None:
        while (seen := self._queue.get()) is not None:
            watch, call, reply = seen
            watch.see(call, reply)
            # Tensors of the last call are not kept until the next comes.
            del seen, call, reply
