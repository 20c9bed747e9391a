"""One limit of one tenant or key: what has drained (GCRA), and what calls that run may still use. No I/O, no lock.

Where this process serves alone, the limit is all its own: local and exact. Where several do, the state is a row that
they share, and each of them uses up an `allowance` that it has leased from there (`serving/shared_rates.py`).

Calls count when they are admitted. Tokens and bytes count when they are known, at the end of a call; until then what
they may be at most stands in `reserved`, so calls that run at the same time cannot pass the limit together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from airserve.serving import gcra
from airserve.serving.gcra import Rate


@dataclass(slots=True)
class Bucket:
    """`scope` is tenant or key. Times are monotonic ns. `wanted` is what waiting calls need of the shared state."""

    scope: str
    scope_id: str
    name: str
    rate: Rate
    tat_ns: int = 0
    shared: bool = False
    allowance: int = 0
    next_ns: int = 0
    """Until when the shared state is known to have no room."""
    shared_room: int = 0
    """What the shared state had beside our allowance, when it was last looked at."""
    used_ns: int = 0
    used: int = 0
    """Units used since the last look at the shared state."""
    reserved: dict[int, int] = field(default_factory=dict)
    wanted: dict[int, int] = field(default_factory=dict)
    reserved_units: int = 0
    """The sum of `reserved`."""
    one_ns: int = field(init=False)
    tolerance_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self.set_rate(self.rate)

    def set_rate(self, rate: Rate) -> None:
        """A plan may change; what has not drained yet takes as long as it did."""
        self.rate = rate
        self.one_ns, self.tolerance_ns = gcra.cost_ns(rate, 1), rate.tolerance_ns

    def fits(self, units: int, now_ns: int) -> bool:
        """Whether there is room; who needs more than a whole quota goes when all of it is there, and pays over time.

        The same as `room` says, without its divisions: this is asked for every call.
        """
        if self.shared:
            return self.allowance - self.reserved_units >= min(units, self.rate.quota)
        level = self.tat_ns - now_ns if self.tat_ns > now_ns else 0
        if units == 1 and not self.reserved_units:
            return level + self.one_ns <= self.tolerance_ns
        units = min(units, self.rate.quota) + self.reserved_units
        return level + -(-units * self.rate.period_ns // self.rate.quota) <= self.tolerance_ns

    def spend_one(self, now_ns: int) -> None:
        """Use one unit up."""
        self.used_ns = now_ns
        self.used += 1
        if self.shared:
            self.allowance -= 1
        else:
            self.tat_ns = (self.tat_ns if self.tat_ns > now_ns else now_ns) + self.one_ns

    def room(self, now_ns: int) -> int:
        """How many units may be asked for."""
        free = self.allowance if self.shared else gcra.room(self.rate, self.tat_ns, now_ns)
        return free - self.reserved_units

    def remaining(self, now_ns: int) -> int:
        """What to tell the client that is left; 0 or more."""
        return max(0, self.room(now_ns) + (self.shared_room if self.shared else 0))

    def finish(self, call: int, units: int, now_ns: int) -> None:
        """A call has ended: what it may use is known, and used up."""
        self.release(call)
        if units:
            self.used_ns = now_ns
            self.used += units
            if self.shared:
                self.allowance -= units
            else:
                self.tat_ns = gcra.spend(self.rate, self.tat_ns, now_ns, units)

    def give_back(self, units: int) -> None:
        """Units that have just been used up were not: the call was refused after all."""
        self.used -= units
        if self.shared:
            self.allowance += units
        else:
            self.tat_ns = gcra.give_back(self.rate, self.tat_ns, units)

    def reserve(self, call: int, units: int) -> None:
        """A new call may use as many, though no more than a whole quota."""
        units = min(units, self.rate.quota)
        self.reserved[call] = units
        self.reserved_units += units

    def release(self, call: int) -> None:
        """What a call may use is known, or nothing."""
        self.reserved_units -= self.reserved.pop(call, 0)

    def wait_ns(self, units: int, now_ns: int) -> int:
        """How long until there is room, if all that runs uses what it may."""
        if self.shared:
            return max(1, self.next_ns - now_ns)
        busy = self.tat_ns if not self.reserved_units else gcra.spend(
            self.rate, self.tat_ns, now_ns, self.reserved_units
        )  # fmt: skip
        return gcra.wait_ns(self.rate, busy, now_ns, min(units, self.rate.quota))

    def fullness(self, now_ns: int) -> float:
        """How much of the limit is taken, 1 for all of it."""
        if self.shared:
            return 1 - self.remaining(now_ns) / self.rate.quota
        level = self.tat_ns - now_ns if self.tat_ns > now_ns else 0
        return level / self.tolerance_ns + self.reserved_units / self.rate.quota

    def reset_ns(self, now_ns: int) -> int:
        """How long until the whole quota is there again, if nothing else comes."""
        if self.shared:
            return gcra.cost_ns(self.rate, max(0, self.rate.quota - self.remaining(now_ns)))
        return gcra.level_ns(self.tat_ns, now_ns)

    def share(self) -> None:
        """From now on the state is shared."""
        self.shared, self.allowance, self.next_ns, self.shared_room, self.used = True, 0, 0, 0, 0

    def keep(self, tat_ns: int) -> None:
        """From now on the state is ours alone; `tat_ns` is what it was when it was shared."""
        self.shared, self.tat_ns = False, gcra.give_back(self.rate, tat_ns, self.allowance)
        self.allowance = 0
