"""The credit that this process may spend in one window of a budget, without asking the database. No I/O, no lock.

What may be spent is computed from three things that are known one by one, and from no counter that could leak:

    available = left (the lease, as the database had it) − what was settled since − what open holds may still cost

`settled` remembers each amount with its place in the journal, and forgets it when a look at the database shows that
the journal was folded up to there: then the ledger has it, and the lease is smaller by as much. See
`metering/leases.py` for the whole arithmetic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from airserve.metering.journal import Position
from airserve.metering.leases import Looked, Window

FRESH_NS = 250_000_000
"""For how long a look at the database is good enough to refuse a call."""
NEVER_NS = -(1 << 62)


@dataclass(slots=True)
class Purse:
    """`limit_nano` is the tightest budget that stops calls, `soft_nano` the tightest that only warns; None for none.

    `ends_ns` is UTC, `looked_ns` on the monotonic clock. `spent_nano` and `leased_nano` are of the whole window, as
    last seen; `wanted` is what waiting calls need, by call.
    """

    window: Window
    ends_ns: int
    limit_nano: int | None = None
    soft_nano: int | None = None
    left_nano: int = 0
    spent_nano: int = 0
    leased_nano: int = 0
    wanted_by_others: bool = False
    looked_ns: int = NEVER_NS
    holds: dict[int, int] = field(default_factory=dict)
    wanted: dict[int, int] = field(default_factory=dict)
    settled: deque[tuple[Position, int]] = field(default_factory=deque)
    closed: bool = False
    """Its period is over, and nothing of it is open."""
    held_nano: int = 0
    """The sum of `holds`."""
    settled_nano: int = 0
    """The sum of `settled`."""

    @property
    def available_nano(self) -> int:
        """What new holds may take."""
        return self.left_nano - self.settled_nano - self.held_nano

    @property
    def passed(self) -> bool:
        """Whether the budget that only warns is used up, as far as this process knows."""
        return self.soft_nano is not None and self.spent_nano + self.settled_nano >= self.soft_nano

    def hold(self, call: int, nano: int) -> None:
        """Set `nano` aside for a new call."""
        self.holds[call] = nano
        self.held_nano += nano

    def release(self, call: int) -> None:
        """Let go of what was set aside for a call, if anything (still) is."""
        self.held_nano -= self.holds.pop(call, 0)

    def settle(self, call: int, nano: int, position: Position) -> None:
        """A call cost `nano`, as the journal says at `position`."""
        self.release(call)
        if nano:
            self.settled.append((position, nano))
            self.settled_nano += nano

    def look(self, seen: Looked, folded: Mapping[int, int], now_ns: int) -> None:
        """Take over what the database says; `folded` is how far each epoch of our journal was folded then."""
        self.left_nano, self.spent_nano, self.leased_nano = seen.left_nano, seen.spent_nano, seen.leased_nano
        self.looked_ns = now_ns
        # In the order of the journal but for threads that overtook each other: what stays behind one of these goes with
        # the next look. Until then there is less to spend, never more.
        settled = self.settled
        while settled and settled[0][0].lsn <= folded.get(settled[0][0].epoch, 0):
            self.settled_nano -= settled.popleft()[1]

    def is_hopeless(self, nano: int, now_ns: int) -> bool:
        """Whether it is known that no credit for `nano` can be had now, from the database or from other nodes."""
        if self.limit_nano is None or now_ns - self.looked_ns > FRESH_NS:
            return False
        if self.available_nano + max(0, self.limit_nano - self.spent_nano - self.leased_nano) >= nano:
            return False
        of_others = self.leased_nano - self.left_nano
        return of_others <= 0 or self.spent_nano + self.settled_nano + nano > self.limit_nano

    def change(self, nodes: int) -> int:
        """How much credit to lease (more than 0) or to give back (less) after a `look`, when `nodes` share the budget.

        A node aims at half of its share of what is left, and at what waiting calls need; so slices shrink towards
        the limit, and the last credit goes to whom it is asked by. While others want credit, all that is idle goes
        back.
        """
        limit = self.limit_nano
        if limit is None:
            return -max(0, self.available_nano)
        rest = limit - self.spent_nano - self.leased_nano
        if rest < 0:
            return -max(0, min(-rest, self.available_nano))
        available = self.available_nano
        needed = sum(self.wanted.values())
        share = (rest + max(0, available)) // (2 * nodes)
        if self.wanted_by_others and not needed:
            share = 0
        aim = max(needed, share)
        if available < needed or available < share // 2:
            return min(rest, aim - available)
        if nodes > 1 and available > 2 * aim:
            return aim - available
        return 0
