"""What is kept for tenants for a while: bounded by bytes and by age, and fair, so that none pushes out another's.

Where all of it is full, who holds most gives way, its oldest entry first. So a tenant that holds no more than its
share, the bound divided by the tenants that hold anything, loses nothing to the others, and learns nothing of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")

OVERHEAD_BYTES = 400
"""What an entry takes beside its value: keys, times, and places in two tables."""
_LARGEST_PART = 4
"""No value may take more than this part of the bound: it would push out all else that its tenant has."""
_MADE_ROOM = 16
"""One part in so many is freed at once: who holds most is then looked for seldom."""


@dataclass(slots=True)
class _Shelf(Generic[V]):
    """One tenant's entries, the oldest first: value, size and until when."""

    entries: OrderedDict[Hashable, tuple[V, int, int]]
    size: int = 0


class TenantMemory(Generic[V]):
    """Values by tenant and key. Thread-safe; time, in nanoseconds of any one clock, is an argument.

    `max_bytes` 0 keeps nothing. An entry is forgotten `max_age_ns` after it was put.
    """

    def __init__(self, max_bytes: int, max_age_ns: int) -> None:
        self.max_bytes = max_bytes
        self.largest = max_bytes // _LARGEST_PART - OVERHEAD_BYTES
        """The most bytes of a value that is kept."""
        self._max_age_ns = max_age_ns
        self._lock = threading.Lock()
        self._shelves: dict[str, _Shelf[V]] = {}
        self._size = 0

    @property
    def size_bytes(self) -> int:
        """What all entries take."""
        return self._size

    def __len__(self) -> int:
        with self._lock:
            return sum(len(shelf.entries) for shelf in self._shelves.values())

    def get(self, tenant: str, key: Hashable, now_ns: int) -> V | None:
        """The tenant's own value; None where there is none, or none any more."""
        # Two look-ups, each atomic: what another thread changes in between was there or not.
        shelf = self._shelves.get(tenant)
        entry = None if shelf is None else shelf.entries.get(key)
        return entry[0] if entry is not None and now_ns < entry[2] else None

    def put(self, tenant: str, key: Hashable, value: V, size: int, now_ns: int) -> bool:
        """Keep `value`, of `size` bytes, in the place of an older one; whether it is kept, which large ones are not."""
        if size > self.largest:
            return False
        size += OVERHEAD_BYTES
        with self._lock:
            shelf = self._shelves.get(tenant)
            if shelf is None:
                shelf = self._shelves[tenant] = _Shelf(OrderedDict())
            self._forget_expired(shelf, now_ns)
            if key in shelf.entries:
                self._drop(shelf, key)
            shelf.entries[key] = value, size, now_ns + self._max_age_ns
            shelf.size += size
            self._size += size
            if self._size > self.max_bytes:
                self._make_room()
            # Where the bound is tiny, or many tenants share it, the new one may be what had to go.
            return key in shelf.entries

    def forget_expired(self, now_ns: int) -> None:
        """Let go of what is too old. `put` does it for its own tenant; this is for those who put nothing."""
        with self._lock:
            for tenant, shelf in list(self._shelves.items()):
                self._forget_expired(shelf, now_ns)
                if not shelf.entries:
                    del self._shelves[tenant]

    def _forget_expired(self, shelf: _Shelf[V], now_ns: int) -> None:
        entries = shelf.entries
        while entries:
            key = next(iter(entries))
            if now_ns < entries[key][2]:
                return
            self._drop(shelf, key)

    def _make_room(self) -> None:
        wanted = self.max_bytes - self.max_bytes // _MADE_ROOM
        while self._size > wanted:
            most = max(self._shelves.values(), key=_size)
            self._drop(most, next(iter(most.entries)))

    def _drop(self, shelf: _Shelf[V], key: Hashable) -> None:
        _, size, _ = shelf.entries.pop(key)
        shelf.size -= size
        self._size -= size


def _size(shelf: _Shelf[V]) -> int:
    return shelf.size
