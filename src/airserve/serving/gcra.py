"""GCRA, the generic cell rate algorithm: a limit whose whole state is one moment. Pure functions of integers.

Source: ITU-T Recommendation I.371, "Traffic control and congestion control in B-ISDN", §6.2.4.1.2 (virtual
scheduling). The state is the theoretical arrival time (TAT) in ns: when all that was asked for has drained at the rate
of the limit. What is above now is the level of a bucket that holds `quota` units, and drains as many in `period_ns`.
So a rested caller may ask for a whole quota at once, and in any time t for at most quota · (1 + t / period).

Times are int64 ns on any one clock. A unit takes period / quota ns; a cost is rounded up to whole ns, so rounding never
makes a limit faster. What it takes from a burst of single units, 1 ns each, the bucket holds in addition: at most 1 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS
_MOST_ROUNDING_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `quota` units at once, and as many in each `period_ns`."""

    quota: int
    period_ns: int

    @property
    def tolerance_ns(self) -> int:
        """How high the level may be."""
        return self.period_ns + min(self.quota, _MOST_ROUNDING_NS)


def level_ns(tat_ns: int, now_ns: int) -> int:
    """How long the bucket takes to drain."""
    return max(0, tat_ns - now_ns)


def cost_ns(rate: Rate, units: int) -> int:
    """By how much `units` raise the level."""
    return -(-units * rate.period_ns // rate.quota)


def room(rate: Rate, tat_ns: int, now_ns: int) -> int:
    """How many units may be asked for now; negative where more was used than the limit allows."""
    return min(rate.quota, (rate.tolerance_ns - level_ns(tat_ns, now_ns)) * rate.quota // rate.period_ns)


def spend(rate: Rate, tat_ns: int, now_ns: int, units: int) -> int:
    """The state after `units` more, whether there was room or not."""
    return max(tat_ns, now_ns) + cost_ns(rate, units)


def give_back(rate: Rate, tat_ns: int, units: int) -> int:
    """The state as if `units` of the last spending had not been; to be called soon after it."""
    return tat_ns - cost_ns(rate, units)


def wait_ns(rate: Rate, tat_ns: int, now_ns: int, units: int) -> int:
    """How long until there is room for `units`, of at most a quota; 0 for now."""
    return max(0, level_ns(tat_ns, now_ns) + cost_ns(rate, units) - rate.tolerance_ns)
