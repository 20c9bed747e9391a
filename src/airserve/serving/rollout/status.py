"""How a rollout stands, from the database alone: for the command line and the control API, beside any server."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from airserve.models.rollout.counts import Counts, total
from airserve.models.rollout.rollouts import Rollout, load_counts
from airserve.serving.rollout.guards import Figures, judge
from airserve.storage import Database


class Status(msgspec.Struct, frozen=True):
    """A rollout with its guards in numbers. `calls` were answered by the new version (in the shadow: copies) and
    `old_calls` by the old one in this stage, by all servers, as of a second ago; `waiting` says for what it waits."""

    rollout: Rollout
    percent: float
    calls: int
    old_calls: int
    guards: Sequence[Figures]
    waiting: Sequence[str]


def status_of(database: Database, rollout: Rollout, now_ns: int) -> Status:
    """How `rollout` stands; `now_ns` is UTC."""
    saved = load_counts(database, rollout.id)
    counts = total(each for (stage, _), each in saved.items() if stage == rollout.stage)
    whole = total(saved.values())
    verdicts = judge(rollout, counts, whole)
    guards = [verdict.figures() for verdict in verdicts]
    return Status(
        rollout=rollout,
        percent=rollout.percent,
        calls=counts.calls,
        old_calls=counts.old_calls,
        guards=guards,
        waiting=_waiting(rollout, counts, whole, guards, now_ns) if rollout.running else [],
    )


def _waiting(rollout: Rollout, counts: Counts, whole: Counts, guards: Sequence[Figures], now_ns: int) -> Sequence[str]:
    """Why the next step is not taken yet."""
    reasons = []
    left_ns = rollout.stage_ns + rollout.every_ns - now_ns
    if not rollout.stage and counts.calls < rollout.shadow:
        reasons.append(f"{rollout.shadow - counts.calls} more calls are to be compared before anybody is answered")
    elif rollout.stage and left_ns > 0:
        reasons.append(f"this step holds for {left_ns / 1e9:.0f} s more")
    if rollout.stage and not counts.calls:
        reasons.append(
            f"nobody who called is among the first {rollout.percent:g} % of the tenants; "
            f"to go on by hand: airserve rollout next {rollout.model}"
        )
    relative = any(guard.times is not None for guard in rollout.parsed)
    if rollout.stage and relative and not whole.old_ns:
        reasons.append("how long the old version takes is not known yet: it must answer 200 calls, 20 ms apart or more")
    reasons += [
        f"{each.guard} needs {each.missing} more calls if all of them are good" for each in guards if each.missing
    ]
    return reasons
