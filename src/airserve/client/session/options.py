"""What a caller wants of a session, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from airserve.client.link.ask import Fallback
from airserve.core.errors import InvalidInputError


class SessionOptions(TypedDict, total=False):
    """`deadline` in seconds from when a frame is given to its answer; `rate` the frames a second that are wanted.

    `accuracy` is the least of a codec, relative to raw inputs; `fallback="device"` answers on the device where the
    cloud cannot in time.
    """

    version: str | None
    outputs: Sequence[str] | None
    deadline: float
    rate: float
    accuracy: float | None
    fallback: Fallback | None


@dataclass(frozen=True, slots=True)
class SessionAsk:
    """One session."""

    model: str
    version: str | None
    outputs: tuple[str, ...] | None
    deadline_s: float
    rate: float
    accuracy: float | None
    fallback: Fallback | None


def new_session_ask(model: str, options: SessionOptions) -> SessionAsk:
    """The session with these options. Raises `InvalidInputError` for those that make no sense."""
    deadline, rate = options.get("deadline", 1.0), options.get("rate", 20.0)
    accuracy, fallback, outputs = options.get("accuracy"), options.get("fallback"), options.get("outputs")
    if not 0 < deadline < 3600:
        raise InvalidInputError(f"deadline={deadline} is in seconds, above 0 and below an hour; 300 ms are 0.3")
    if not 0 < rate <= 1000:
        raise InvalidInputError(f"rate={rate} is in frames a second, above 0 and at most 1000")
    if accuracy is not None and not 0 <= accuracy <= 1:
        raise InvalidInputError(f"accuracy={accuracy} is relative to raw inputs, from 0 to 1; 0.99 loses 1 %")
    if fallback not in (None, "device"):
        raise InvalidInputError(f"fallback={fallback!r} is not known; use 'device' or None")
    return SessionAsk(
        model, options.get("version"), None if outputs is None else tuple(outputs), deadline, rate, accuracy, fallback
    )
