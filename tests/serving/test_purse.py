from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airserve.metering.journal import Position
from airserve.metering.leases import Looked, Window
from airserve.serving.purse import Purse

WINDOW = Window("tenant", "t", "month", 0)
LOOKED = Looked(0, 10**9, 10**9, 0)

# Lengths of calls that end in the order of the journal but for neighbours, and how far it was folded after each.
lives = st.lists(st.tuples(st.integers(1, 1000), st.booleans(), st.integers(0, 30)), max_size=30)


@given(lives)
def test_what_was_settled_is_forgotten_once_the_ledger_has_it_and_never_before(
    calls: list[tuple[int, bool, int]],
) -> None:
    order = list(range(1, len(calls) + 1))
    for place, (_, overtakes, _) in enumerate(calls[1:], 1):
        if overtakes:
            order[place - 1], order[place] = order[place], order[place - 1]
    purse, folded = Purse(WINDOW, 1), 0
    for lsn, (nano, _, further) in zip(order, calls, strict=True):
        purse.hold(lsn, 2 * nano)
        purse.settle(lsn, nano, Position(7, lsn))
        folded = max(folded, min(further, lsn))
        purse.look(LOOKED, {7: folded}, 0)
        kept = {position.lsn: nano for position, nano in purse.settled}
        assert purse.settled_nano == sum(kept.values())
        assert purse.held_nano == 0
        # What the ledger lacks is all here, so nothing is spent twice.
        assert {at for at in order[: order.index(lsn) + 1] if at > folded} <= set(kept)
    purse.look(LOOKED, {7: len(calls)}, 0)
    assert (purse.settled_nano, purse.available_nano, len(purse.settled)) == (0, 10**9, 0)


def test_calls_of_an_epoch_of_which_nothing_was_folded_stay() -> None:
    purse = Purse(WINDOW, 1)
    purse.settle(1, 5, Position(1, 9))
    purse.settle(2, 6, Position(2, 1))
    purse.look(LOOKED, {1: 9}, 0)
    assert purse.settled_nano == 6
    assert purse.available_nano == 10**9 - 6
