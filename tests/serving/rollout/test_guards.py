from __future__ import annotations

import msgspec

from airserve.models.rollout.counts import Counts, total
from airserve.models.rollout.rollouts import Rollout
from airserve.serving.rollout.guards import judge

ROLLOUT = Rollout(
    id="rol_1", model="m", alias="prod", from_version=1, to_version=2, steps=(5.0, 100.0), every_ns=1,
    guards=("error<0.5%", "p99<1.2x", "agreement>98%"), shadow=100, state="canary", stage=1, stage_ns=0, started_ns=0,
    ended_ns=None, reason="",
)  # fmt: skip
SHADOW = msgspec.structs.replace(ROLLOUT, state="shadow", stage=0)


def states(rollout: Rollout, counts: Counts, before: Counts | None = None) -> dict[str, str]:
    return {
        each.guard: each.state for each in (verdict.figures() for verdict in judge(rollout, counts, before or counts))
    }


def test_without_calls_every_guard_waits() -> None:
    assert states(ROLLOUT, Counts()) == {"error<0.5%": "waiting", "p99<1.2x": "waiting", "agreement>98%": "waiting"}


def test_enough_good_calls_pass_every_guard() -> None:
    counts = Counts(calls=400, old_calls=9_000, compared=200, disagreed=1, timed=200, slow=0)
    assert set(states(ROLLOUT, counts).values()) == {"passed"}


def test_each_kind_of_bad_call_fails_its_own_guard() -> None:
    good = Counts(calls=400, old_calls=9_000, compared=200, timed=200)
    bad = {"error<0.5%": {"failed": 20}, "p99<1.2x": {"slow": 20}, "agreement>98%": {"disagreed": 30}}
    for guard, fields in bad.items():
        found = states(ROLLOUT, msgspec.structs.replace(good, **fields))
        assert [each for each, state in found.items() if state == "failed"] == [guard]


def test_in_the_shadow_nobody_is_timed_and_every_failure_is_the_new_versions() -> None:
    counts = Counts(calls=100, failed=10, old_calls=100, old_failed=50, compared=95)
    assert states(SHADOW, counts) == {"error<0.5%": "failed", "agreement>98%": "passed"}


def test_what_the_old_version_fails_as_often_is_not_the_new_ones_fault() -> None:
    # Deadlines that nobody can meet: a tenth of the calls to either version.
    counts = Counts(calls=2_000, failed=205, old_calls=20_000, old_failed=2_000)
    assert states(ROLLOUT, counts)["error<0.5%"] != "failed"
    worse = msgspec.structs.replace(counts, failed=400)
    assert states(ROLLOUT, worse)["error<0.5%"] == "failed"
    # Also where the old version answers nobody any more: what it did before still counts.
    assert states(ROLLOUT, Counts(calls=2_000, failed=205), counts)["error<0.5%"] != "failed"


def test_a_verdict_says_what_it_saw_and_what_it_lacks() -> None:
    (_, _, agreement) = judge(ROLLOUT, Counts(compared=9, disagreed=5), Counts())
    assert agreement.sentence().startswith("agreement>98%: 5 of 9 answers were other ones, which is surely more than ")
    (error, *_) = judge(ROLLOUT, Counts(calls=100), Counts())
    assert error.figures().missing == 150


def test_the_counts_of_several_servers_add_up() -> None:
    whole = total([Counts(calls=1, slow=2, old_ns=5), Counts(calls=3, failed=1, old_ns=4)])
    assert whole == Counts(calls=4, failed=1, slow=2, old_ns=5)
