"""How the outputs of a call travel back: as they are, or in a codec where that pays and is accurate enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airserve.client.link.chooser import reaches
from airserve.client.link.codec_book import usual_s
from airserve.client.link.estimate import LinkEstimate
from airserve.client.link.flights import INITIAL_WINDOW, transfer_s
from airserve.client.link.offer import Offer

_LEAST_BYTES = 16 << 10
_HEAD_BYTES = 300.0
# What must be gained: in seconds, and as a part of the time that the output takes as it is.
_WORTH_S, _WORTH = 0.002, 0.1


@dataclass(frozen=True, slots=True)
class Back:
    """The codec of each output that gets one; `down_bytes` of the whole answer, None where no answer was seen yet.

    `names` are all outputs; `accuracy` is relative to outputs as they are.
    """

    names: tuple[str, ...] = ()
    codecs: Mapping[str, str] = field(default_factory=dict)
    down_bytes: float | None = None
    accuracy: float = 1.0


def outputs_back(
    offer: Offer, bytes_a_row: Mapping[str, float], rows: int, link: LinkEstimate, floor: float | None
) -> Back:
    """The fastest way back at or above the accuracy `floor`; `bytes_a_row` is what outputs take as they are."""
    if not bytes_a_row:
        return Back()
    codecs: dict[str, str] = {}
    down, accuracy = _HEAD_BYTES, 1.0
    for name, a_row in bytes_a_row.items():
        raw = a_row * rows
        as_it_is = _seconds(raw, link)
        best, best_s, best_bytes, best_accuracy = "", as_it_is, raw, 1.0
        for each in offer.codecs if raw >= _LEAST_BYTES else ():
            if each.tensor != name or each.bytes is None or each.accuracy is None or not reaches(each.accuracy, floor):
                continue
            seconds = _seconds(each.bytes * rows, link) + 2 * usual_s(each.codec, round(raw))
            if seconds < best_s:
                best, best_s, best_bytes, best_accuracy = each.codec, seconds, each.bytes * rows, each.accuracy
        if best and as_it_is - best_s > max(_WORTH_S, _WORTH * as_it_is):
            codecs[name] = best
            raw, accuracy = best_bytes, min(accuracy, best_accuracy)
        down += raw
    return Back(tuple(bytes_a_row), codecs, down, accuracy)


def _seconds(size: float, link: LinkEstimate) -> float:
    return transfer_s(size, INITIAL_WINDOW, link.rtt_s, link.down_rate)
