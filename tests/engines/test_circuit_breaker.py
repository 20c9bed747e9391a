from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airserve.engines.circuit_breaker import CircuitBreaker, Permit, Result

LIMIT, PAUSE = 3, 100


def breaker_after(*results: Result, now_ns: int = 0) -> CircuitBreaker:
    breaker = CircuitBreaker(limit=LIMIT, pause_ns=PAUSE)
    for result in results:
        permit = breaker.admit(now_ns)
        assert permit is not None
        breaker.settle(permit, result, now_ns)
    return breaker


FAIL, SUCCEED, UNKNOWN = Result.FAILED, Result.SUCCEEDED, Result.UNKNOWN


def test_failures_in_a_row_open_it_for_the_pause() -> None:
    breaker = breaker_after(FAIL, FAIL, FAIL)
    assert breaker.admit(PAUSE - 1) is None
    assert breaker.wait_ns(PAUSE - 1) == 1
    assert breaker.admit(PAUSE) == Permit(probe=True)


def test_a_success_between_failures_begins_the_count_anew_and_an_unknown_end_does_not() -> None:
    assert breaker_after(FAIL, FAIL, SUCCEED, FAIL, FAIL).admit(0) == Permit(probe=False)
    assert breaker_after(FAIL, UNKNOWN, FAIL, UNKNOWN, FAIL).admit(0) is None


def test_one_probe_at_a_time_decides() -> None:
    breaker = breaker_after(FAIL, FAIL, FAIL)
    probe = breaker.admit(PAUSE)
    assert probe is not None
    assert breaker.admit(PAUSE) is None
    breaker.settle(probe, SUCCEED, PAUSE + 5)
    assert breaker.admit(PAUSE + 5) == Permit(probe=False)
    assert breaker.wait_ns(PAUSE + 5) == 0


def test_a_probe_that_fails_opens_it_again_and_one_that_was_given_up_lets_another_try() -> None:
    breaker = breaker_after(FAIL, FAIL, FAIL)
    probe = breaker.admit(PAUSE)
    assert probe is not None
    breaker.settle(probe, UNKNOWN, PAUSE + 5)
    probe = breaker.admit(PAUSE + 5)
    assert probe == Permit(probe=True)
    breaker.settle(probe, FAIL, PAUSE + 10)
    assert breaker.admit(2 * PAUSE + 9) is None
    assert breaker.admit(2 * PAUSE + 10) == Permit(probe=True)


@given(st.lists(st.tuples(st.sampled_from(["admit", "settle"]), st.sampled_from(Result), st.integers(0, 30))))
def test_whatever_happens_there_is_one_probe_at_most_and_none_while_it_is_open(
    steps: list[tuple[str, Result, int]],
) -> None:
    breaker = CircuitBreaker(limit=LIMIT, pause_ns=PAUSE)
    out: list[Permit] = []
    now = opened = 0
    for step, result, passed in steps:
        now += passed
        if step == "admit":
            waits = breaker.wait_ns(now)
            permit = breaker.admit(now)
            if permit is not None:
                assert not waits
                out.append(permit)
        elif out:
            breaker.settle(out.pop(0), result, now)
        assert sum(permit.probe for permit in out) <= 1
        opened = max(opened, breaker.wait_ns(now))
    assert opened <= PAUSE
