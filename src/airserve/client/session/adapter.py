"""Which codec the link carries at the wanted rate: down as soon as frames are held up, up again by trying."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_WINDOW_S = 1.0
_FEWEST_HELD_UP = 3
_SHARE_HELD_UP = 0.15
_FIRST_CALM_S = 3.0
_LONGEST_CALM_S = 60.0
_TRIAL_S = 3.0
_FILLED = 0.9


@dataclass(frozen=True, slots=True)
class Rung:
    """A codec, its accuracy relative to raw inputs, and the bytes of a frame."""

    codec: str
    accuracy: float
    size: float


def front(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """Those that no other one beats in accuracy and size at once; the most accurate, and largest, first."""
    kept: list[Rung] = []
    for rung in sorted(rungs, key=lambda each: (-each.accuracy, each.size)):
        if not kept or rung.size < kept[-1].size:
            kept.append(rung)
    return tuple(kept)


class Adapter:
    """The rung in use. Times are monotonic seconds, `rate` frames a second.

    A rung that was tried and could not be held is tried again only after twice as long a calm.
    """

    def __init__(self, rungs: Sequence[Rung], rate: float, *, first_flight: float) -> None:
        self.rungs = front(rungs)
        self._rate = rate
        self._at = next((i for i, rung in enumerate(self.rungs) if rung.size <= first_flight), len(self.rungs) - 1)
        self._frames: deque[tuple[float, bool]] = deque()
        self._calm_s = _FIRST_CALM_S
        self._calm_since: float | None = None
        self._tried_at = self._full_at = -_LONGEST_CALM_S

    @property
    def codec(self) -> str:
        """The codec to use."""
        return self.rungs[self._at].codec

    @property
    def accuracy(self) -> float:
        """Its accuracy."""
        return self.rungs[self._at].accuracy

    def is_full(self, now: float) -> bool:
        """Whether frames are held up though no codec is smaller."""
        return now - self._full_at < _FIRST_CALM_S

    def seen(self, now: float, *, held_up: bool, delivery_rate: float) -> None:
        """A frame was answered in time, or `held_up`: late, or replaced while the link was full.

        `delivery_rate` is what the link delivers, bytes a second, which is what it can where frames are held up.
        """
        frames = self._frames
        frames.append((now, held_up))
        while now - frames[0][0] > _WINDOW_S:
            frames.popleft()
        late = sum(held for _, held in frames)
        if self._calm_since is None or held_up:
            self._calm_since = now
        if late >= _FEWEST_HELD_UP and late > _SHARE_HELD_UP * len(frames):
            self._down(now, delivery_rate)
        elif self._at > 0 and now - self._calm_since >= self._calm_s:
            self._at -= 1
            self._tried_at = self._calm_since = now
            frames.clear()
        elif now - self._tried_at > 2 * _LONGEST_CALM_S:
            self._calm_s = _FIRST_CALM_S

    def paused(self) -> None:
        """The link was gone: what was seen before says nothing, and neither did its time count as calm."""
        self._frames.clear()
        self._calm_since = None

    def _down(self, now: float, delivery_rate: float) -> None:
        if now - self._tried_at < _TRIAL_S and self._at < len(self.rungs) - 1:
            self._calm_s = min(2 * self._calm_s, _LONGEST_CALM_S)
        fits = _FILLED * delivery_rate / self._rate
        last = len(self.rungs) - 1
        if self._at == last:
            self._full_at = now
        lower = min(self._at + 1, last)
        self._at = next((i for i in range(lower, last) if self.rungs[i].size <= fits), last)
        self._calm_since = now
        self._frames.clear()
