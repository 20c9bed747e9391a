"""How many connections each client address holds, so that no one address takes them all."""

from __future__ import annotations

from collections import Counter


class Addresses:
    """Counts connections. The machine's own addresses are free: a proxy of the operator's stands for many clients."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Whether `address` may hold one more connection; it does then, until it leaves."""
        if is_own(address):
            return True
        if self._open[address] >= self._most:
            return False
        self._open[address] += 1
        return True

    def leave(self, address: str) -> None:
        """A connection of `address` that had entered has ended."""
        if is_own(address):
            return
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


def is_own(address: str) -> bool:
    """Whether `address` is the machine's own (loopback), or not known."""
    return not address or address.startswith("127.") or address == "::1"
