"""Which slot of a language model a generation runs in, so that a prompt is found in the cache by its own tenant alone.

A slot keeps the prompt that it worked on last, and whoever begins with the same words is answered sooner and told how
many tokens were found. Across tenants that would tell one what another has asked (Song et al., "The Early Bird Catches
the Leak", 2024). So a generation goes to a slot that its owner used last, where one is free, and reads no cache but its
own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Slots:
    """`count` slots, and who used each last; at most `count` may be taken at once."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        # The slot that was used longest ago is first.
        self._free: dict[int, str | None] = dict.fromkeys(range(count))
        self._spreading = 0
        self._spread = 0

    @contextmanager
    def taken(self, owner: str, *, spreads: bool = False) -> Iterator[tuple[int, bool]]:
        """A slot while the block runs, and whether what is cached there may be read.

        A generation that `spreads` (several answers at once) works in slots of others too: nobody reads a cache while
        it runs, and afterwards no slot is anybody's.
        """
        with self._lock:
            slot = next((slot for slot, last in self._free.items() if last == owner), None)
            mine = slot is not None and not self._spreading and not spreads
            if slot is None:
                slot = next(iter(self._free))
            del self._free[slot]
            self._spreading += spreads
            self._spread += spreads
            spread = self._spread
        try:
            yield slot, mine
        finally:
            with self._lock:
                if spreads:
                    self._spreading -= 1
                    self._free = dict.fromkeys(self._free)
                # Where another has spread in the meantime, its words may lie here as well.
                alone = not spreads and spread == self._spread and not self._spreading
                self._free[slot] = owner if alone else None
