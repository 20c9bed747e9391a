"""How much of the engine's time each of several generations took that ran at once. Sans-IO."""

from __future__ import annotations


class SharedTime:
    """A clock that runs at 1/n of real time while n generations run, so that their shares add up to the real time.

    The virtual time of processor sharing (Parekh and Gallager, IEEE/ACM Transactions on Networking 1993, §II).
    """

    def __init__(self) -> None:
        self.running = 0
        self._virtual_ns = 0.0
        self._last_ns = 0

    def enter(self, now_ns: int) -> float:
        """One more runs from now on; what this returns goes to `leave`."""
        self._advance(now_ns)
        self.running += 1
        return self._virtual_ns

    def leave(self, entered: float, now_ns: int) -> int:
        """One has ended: its share of the time since it entered, in nanoseconds."""
        self._advance(now_ns)
        self.running -= 1
        return int(self._virtual_ns - entered)

    def _advance(self, now_ns: int) -> None:
        if self.running:
            self._virtual_ns += max(0, now_ns - self._last_ns) / self.running
        self._last_ns = now_ns
