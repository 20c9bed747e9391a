from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from airserve.engines.llama_slots import Slots


def test_who_comes_again_finds_the_slot_with_its_own_words() -> None:
    slots = Slots(3)
    with slots.taken("a") as (first, own):
        assert not own
    with slots.taken("b") as (other, own):
        assert (other != first, own) == (True, False)
    with slots.taken("a") as (again, own):
        assert (again, own) == (first, True)


def test_a_second_generation_at_the_same_time_reads_nothing_that_is_not_its_owners() -> None:
    slots = Slots(2)
    with slots.taken("a") as (first, _), slots.taken("a") as (second, own):
        assert (first != second, own) == (True, False)
    with slots.taken("a") as (_, own), slots.taken("a") as (_, also):
        assert own
        assert also


def test_after_several_answers_at_once_no_slot_is_anybodys() -> None:
    slots = Slots(2)
    with slots.taken("a"):
        pass
    with slots.taken("b", spreads=True) as (_, own):
        assert not own
    for owner in ("a", "b"):
        with slots.taken(owner) as (_, own):
            assert not own


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=40)


@given(STEPS, st.integers(1, 4))
def test_nobody_ever_reads_the_words_of_another(steps: list[tuple[str, bool, bool]], count: int) -> None:
    slots = Slots(count)
    words: list[set[str]] = [set() for _ in range(count)]
    running: list[tuple[ExitStack, int, str, bool]] = []
    for owner, spreads, ends_one in steps:
        if len(running) == count or (ends_one and running):
            stack, _, _, _ = running.pop(0)
            stack.close()
        stack = ExitStack()
        slot, own = stack.enter_context(slots.taken(owner, spreads=spreads))
        assert slot not in [taken for _, taken, _, _ in running]
        # What was told to read the cache finds its own words there and no others.
        assert not own or words[slot] == {owner}
        words[slot] = words[slot] | {owner} if own else {owner}
        for other in range(count) if spreads else ():
            words[other] |= {owner}
        running.append((stack, slot, owner, spreads))
    for stack, _, _, _ in running:
        stack.close()
