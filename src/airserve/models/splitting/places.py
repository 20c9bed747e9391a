"""Where a call is answered soonest, by the predicted time of each way there is: link and device decide, not the graph.

T = device + encode + upload + decode + server + the answer's way back; a codec's time counts on the side that runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from airserve.models.splitting.codings import Coding
from airserve.models.splitting.study import Cut, Study
from airserve.models.splitting.transfer import Uplink, call_s
from airserve.models.splitting.whole import RAW, USUAL

MARGIN = 0.1
"""A split has to be faster than the cloud by this part: less is within the error of the prediction."""
_LEAST_BITS = 0.5


class Place(StrEnum):
    """Who computes: the device alone, the cloud on the whole input, or both."""

    DEVICE = "device"
    CLOUD = "cloud"
    CLOUD_RAW = "cloud, raw"
    SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to an answer with its predicted seconds; `cut` is its number where the place is a split."""

    place: Place
    codec: str
    bytes: float
    accuracy: float
    seconds: float
    cut: int | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"split {self.cut}" if self.cut is not None else str(self.place)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a device that is `factor` times as slow as this machine can do over `link`; only what is accurate enough.

    `to_beat_s` is the fastest way to the whole model in the cloud, pictures as apps send them anyway included, accurate
    enough or not.
    """

    link: Uplink
    factor: float
    ways: tuple[Way, ...]
    to_beat_s: float

    def best(self, place: Place) -> Way | None:
        """The fastest way with this place."""
        return min((way for way in self.ways if way.place is place), key=lambda way: way.seconds, default=None)

    @property
    def fastest(self) -> Way:
        """Of all."""
        return min(self.ways, key=lambda way: way.seconds)

    @property
    def pays(self) -> bool:
        """Whether the best split beats the cloud by the margin."""
        split = self.best(Place.SPLIT)
        return split is not None and split.seconds <= (1 - MARGIN) * self.to_beat_s


def compare(measured: Study, link: Uplink, factor: float, floor: float, *, most_head_share: float = 1.0) -> Comparison:
    """Every way over `link` whose accuracy is at least `floor`, and whose head takes at most that share of the time."""
    ways = [*_whole(measured, link, factor)]
    to_beat_s = _to_beat_s(ways, floor)
    for cut in (each for each in measured.cuts if each.head_share <= most_head_share):
        ways += [
            Way(Place.SPLIT, coding.codec, coding.bytes, coding.accuracy, _split_s(measured, cut, coding, link, factor),
                cut.number)
            for coding in cut.codings
        ]  # fmt: skip
    return Comparison(link, factor, tuple(way for way in ways if way.accuracy >= floor), to_beat_s)


def could_pay(measured: Study, cut: Cut, link: Uplink, factor: float, floor: float) -> bool:
    """Whether the cut would beat the cloud at half a bit a value with a codec that takes no time."""
    ideal = Coding("ideal", cut.values * _LEAST_BITS / 8, 1.0)
    to_beat_s = _to_beat_s(_whole(measured, link, factor), floor)
    return _split_s(measured, cut, ideal, link, factor) <= (1 - MARGIN) * to_beat_s


def worth_it(measured: Study, comparisons: Sequence[Comparison]) -> tuple[Cut, ...]:
    """The cuts that are the best split of a link where a split pays."""
    numbers = {split.cut for each in comparisons if each.pays and (split := each.best(Place.SPLIT)) is not None}
    return tuple(cut for cut in measured.cuts if cut.number in numbers)


def _to_beat_s(ways: Iterable[Way], floor: float) -> float:
    return min(
        way.seconds
        for way in ways
        if way.place in (Place.CLOUD, Place.CLOUD_RAW) and (way.accuracy >= floor or way.codec in USUAL)
    )


def _whole(measured: Study, link: Uplink, factor: float) -> Iterator[Way]:
    """The ways that need no cut."""
    prepare_s, run_s = measured.uploads.prepare_s, measured.profile.total_s
    yield Way(Place.DEVICE, "", 0.0, 1.0, factor * (prepare_s + run_s))
    for coding in measured.uploads.codings:
        # As numbers the picture is made ready on the device, as a picture on the server.
        raw = coding.codec == RAW
        near, far = (prepare_s, run_s) if raw else (0.0, prepare_s + run_s)
        seconds = factor * (near + coding.encode_s) + call_s(coding.bytes, link) + coding.decode_s + far
        place = Place.CLOUD_RAW if raw else Place.CLOUD
        yield Way(place, coding.codec, coding.bytes, coding.accuracy, seconds)


def _split_s(measured: Study, cut: Cut, coding: Coding, link: Uplink, factor: float) -> float:
    near = measured.uploads.prepare_s + cut.head_s + coding.encode_s
    return factor * near + call_s(coding.bytes, link) + coding.decode_s + cut.tail_s
