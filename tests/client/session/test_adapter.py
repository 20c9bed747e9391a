"""Codecs follow the link."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from airserve.client.session.adapter import Adapter, Rung, front

RUNGS = (Rung("raw", 1.0, 110_000), Rung("fp16", 0.9999, 55_000), Rung("int8", 0.999, 20_000), Rung("int4", 0.99, 8000))


def adapter(first_flight: float = 1e9) -> Adapter:
    return Adapter(RUNGS, 20.0, first_flight=first_flight)


class Link:
    """Frames at 20 a second, of the codec of the moment."""

    def __init__(self, made: Adapter) -> None:
        self.made, self.now, self._free_at = made, 0.0, 0.0

    def play(self, seconds: float, rate: float) -> list[str]:
        """The codec of each frame while the link carries `rate` bytes a second."""
        codecs, end = [], self.now + seconds
        while self.now < end:
            size = next(each.size for each in RUNGS if each.codec == self.made.codec)
            codecs.append(self.made.codec)
            held_up = self._free_at > self.now
            if not held_up:
                self._free_at = self.now + size / rate
            self.made.seen(self.now, held_up=held_up, delivery_rate=rate)
            self.now += 0.05
        return codecs


def test_the_first_frame_fits_a_first_flight() -> None:
    assert adapter(13_800).codec == "int4"
    assert adapter(25_000).codec == "int8"
    assert adapter(100).codec == "int4"
    assert adapter().codec == "raw"


def test_a_link_that_carries_all_is_given_all_step_by_step() -> None:
    made = adapter(13_800)
    Link(made).play(20.0, 1e7)
    assert made.codec == "raw"


def test_a_slow_link_gets_what_it_carries_within_a_second() -> None:
    made = adapter()
    link = Link(made)
    link.play(5.0, 1e7)
    link.play(1.0, 5e5)
    assert made.codec == "int8"
    assert not made.is_full(link.now)
    link.play(2.0, 5e4)
    assert made.codec == "int4"
    assert made.is_full(link.now)


def test_what_could_not_be_held_is_tried_again_more_and_more_rarely() -> None:
    codecs = Link(adapter()).play(240.0, 5e5)
    trials = [i for i, (before, codec) in enumerate(pairwise(codecs)) if (before, codec) == ("int8", "fp16")]
    pauses = [later - earlier for earlier, later in pairwise(trials)]
    assert len(pauses) >= 3
    assert pauses[-1] > 3 * pauses[0]


def test_an_outage_does_not_lower_the_codec() -> None:
    made = adapter()
    made.seen(0.0, held_up=True, delivery_rate=1e6)
    made.seen(0.1, held_up=True, delivery_rate=1e6)
    made.paused()
    made.seen(5.0, held_up=True, delivery_rate=1e6)
    assert made.codec == "raw"


@given(st.lists(st.tuples(st.floats(0.5, 1.0), st.integers(1, 1000)), min_size=1, max_size=12))
def test_no_rung_of_the_front_is_beaten_by_any(given: list[tuple[float, int]]) -> None:
    rungs = [Rung(str(i), accuracy, float(size)) for i, (accuracy, size) in enumerate(given)]
    kept = front(rungs)
    assert kept
    for rung in rungs:
        assert any(each.accuracy >= rung.accuracy and each.size <= rung.size for each in kept)
    assert [each.size for each in kept] == sorted((each.size for each in kept), reverse=True)
