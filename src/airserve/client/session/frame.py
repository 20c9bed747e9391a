"""What a session carries: the frames as they are given, as they travel, and the answers to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airserve.client.exchange import HttpRequest
from airserve.client.link.answer import Answer, Told
from airserve.core.call import Array, Tensors


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its number in the session, its call id, and when it was given (monotonic, seconds)."""

    number: int
    inputs: Tensors
    call_id: str
    at: float


@dataclass(slots=True, eq=False)
class Sent:
    """A frame on its way. The request stays the very same, so that the service runs and charges it once.

    `keys` are those of its coded inputs in the session's stream. `delivered` and `delivered_at` are what the pacer had
    counted when the frame left. Times are monotonic seconds.
    """

    frame: Frame
    request: HttpRequest
    codec: str
    accuracy: float | None
    keys: Mapping[str, int] = field(default_factory=dict)
    at: float = 0.0
    delivered: int = 0
    delivered_at: float = 0.0
    attempts: int = 0

    @property
    def size(self) -> int:
        """The bytes of the body."""
        return len(self.request.body)


class FrameAnswer(Answer):
    """An `Answer` to a frame: `frame` is its number, `age_ms` the time since it was given, `up_bytes` what was sent.

    `up_bytes` is the size of the request's body, 0 where the device answered.
    """

    def __init__(self, outputs: Mapping[str, Array], told: Told, *, frame: int, up_bytes: int) -> None:
        super().__init__(outputs, told)
        self.frame = frame
        self.age_ms = told.elapsed_ms
        self.up_bytes = up_bytes
