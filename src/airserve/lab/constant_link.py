"""A link whose rates and delay do not change, in one line: `up=10,down=50,rtt=60,loss=1`."""

from __future__ import annotations

import re

from airserve.core.errors import InvalidInputError
from airserve.lab.link import Direction, Link, Radio, Segment, Timeline
from airserve.lab.link_checks import check_link
from airserve.lab.trace import queue_bytes

_RATES = {"": 1e6, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_TIMES = {"": 1e-3, "ms": 1e-3, "s": 1.0}
_SHARES = {"": 0.01, "%": 0.01}
_KEYS = {
    **dict.fromkeys(("up", "down", "rate"), _RATES),
    **dict.fromkeys(("rtt", "jitter", "queue", "grant", "idle", "wake"), _TIMES),
    "loss": _SHARES,
}
_VALUE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)([a-z%]*)")


def constant_link(text: str) -> Link:
    """Read a link from `key=value` pairs between commas.

    `up`, `down` and `rate` (both) are Mbit/s, or kbit, mbit, gbit; `rtt`, `jitter`, `queue`, `grant`, and the radio's
    `idle` and `wake` are milliseconds, or s; `loss` is percent. Raises InvalidInputError for anything else.
    """
    values: dict[str, float] = {}
    for part in text.split(","):
        key, _, value = part.strip().lower().partition("=")
        found = _VALUE.fullmatch(value.strip())
        units = _KEYS.get(key.strip(), {})
        if found is None or found[2] not in units:
            raise InvalidInputError(
                f"'{part}' in the link '{text}' cannot be read: keys are {', '.join(_KEYS)}; values are numbers in "
                "Mbit/s, milliseconds and percent, or with a unit (kbit, mbit, gbit, ms, s, %)."
            )
        values[key.strip()] = float(found[1]) * units[found[2]]
    rate = values.get("rate", 100e6)
    radio = Radio(values.get("idle", 10.0), values["wake"]) if "wake" in values else None
    link = Link(
        name=text,
        up=_way(values, values.get("up", rate), values.get("grant", 0.0)),
        down=_way(values, values.get("down", rate), 0.0),
        radio=radio,
        source="constant",
    )
    check_link(link)
    return link


def _way(values: dict[str, float], rate_bps: float, grant_s: float) -> Direction:
    capacity = Timeline((Segment(0.0, rate_bps, values.get("rtt", 0.0) / 2),), 1.0)
    return Direction(
        capacity,
        queue_bytes=queue_bytes(rate_bps, values.get("queue", 0.5)),
        jitter_s=values.get("jitter", 0.0),
        loss=values.get("loss", 0.0),
        grant_s=grant_s,
    )
