"""Which packets are lost: each on its own, or in bursts by Gilbert and Elliott's two states."""

from __future__ import annotations

from random import Random

from airserve.lab.link import GilbertElliott


class Loss:
    """Decides for one packet after another, the same for the same seed."""

    __slots__ = ("_bad", "_model", "_probability", "_random")

    def __init__(self, described: float | GilbertElliott, seed: int | str) -> None:
        self._model = described if isinstance(described, GilbertElliott) else None
        self._probability = 0.0 if isinstance(described, GilbertElliott) else described
        self._bad = False
        self._random = Random(f"loss {seed}")  # noqa: S311

    @property
    def never(self) -> bool:
        """Whether nothing is lost."""
        return self._model is None and self._probability <= 0

    def loses(self) -> bool:
        """Whether the next packet is lost."""
        draw = self._random.random
        if self._model is None:
            return draw() < self._probability
        if draw() < (self._model.to_good if self._bad else self._model.to_bad):
            self._bad = not self._bad
        return draw() < (self._model.loss_bad if self._bad else self._model.loss_good)


def mean_loss(described: float | GilbertElliott) -> float:
    """The share of packets lost in the long run. Source: tc-netem(8), `gemodel`."""
    if not isinstance(described, GilbertElliott):
        return described
    moves = described.to_bad + described.to_good
    if moves == 0:
        return described.loss_good
    return (described.loss_good * described.to_good + described.loss_bad * described.to_bad) / moves
