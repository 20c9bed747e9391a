"""How likely the cloud answers in time."""

from __future__ import annotations

from airserve.client.link.odds import Odds


def test_what_was_never_tried_is_hoped_for_and_what_never_comes_is_given_up() -> None:
    odds = Odds()
    assert odds.of("tiny") == 1.0
    for _ in range(40):
        odds.learn("large", in_time=False)
    assert odds.of("large") < 0.1
    assert odds.of("tiny") == 1.0


def test_one_success_is_worth_several_more_attempts_and_a_new_link_a_fresh_start() -> None:
    odds = Odds()
    for _ in range(50):
        odds.learn("call", in_time=False)
    odds.learn("call", in_time=True)
    attempts = 0
    while odds.of("call") >= 0.06:
        odds.learn("call", in_time=False)
        attempts += 1
    assert attempts >= 3
    odds.hope()
    assert odds.of("call") == 0.5
