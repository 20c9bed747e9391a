"""Choose one variant by limits that a person gave, and say why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SAME = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """What the chosen variant must keep: a loss of accuracy (0.01: 1 %), ms of one row (p50), bytes of its weights."""

    most_drop: float | None = None
    most_ms: float | None = None
    most_bytes: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return any(each is not None for each in (self.most_drop, self.most_ms, self.most_bytes))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A measured variant. `loss` is against the original, with the ends of its 95 % interval."""

    name: str
    loss: float
    loss_low: float
    loss_high: float
    ms: float
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant that was chosen, None where none keeps the limits; the sentence says why."""

    name: str | None
    why: str


def choose(original: Candidate, others: Sequence[Candidate], limits: Limits) -> Choice:
    """Of those that keep all limits, the most accurate where time or size was limited, else the one that gains most.

    What it gains is how many times smaller times how many times faster it is than the original, which is one of them.
    """
    every = [original, *others]
    good = [each for each in every if not _excesses(each, limits)]
    if not good:
        nearest = min(every, key=lambda each: sum(_excesses(each, limits).values()))
        return Choice(
            None,
            f"no variant keeps {_said(limits)}; nearest is {nearest.name}: {_figures(nearest)}",
        )
    if limits.most_ms is None and limits.most_bytes is None:
        chosen = max(good, key=lambda each: _gain(original, each))
    else:
        chosen = min(good, key=lambda each: (each.loss, -_gain(original, each)))
    if chosen is original:
        return Choice(chosen.name, f"{chosen.name}: of what keeps {_said(limits)} nothing is better than it")
    better = [each for each in every if _gain(original, each) > _gain(original, chosen)]
    why = f"{_compared(original, chosen)}{_doubt(chosen, limits)}{_others(better, limits)}"
    return Choice(chosen.name, f"{chosen.name}: {why}")


def _excesses(each: Candidate, limits: Limits) -> dict[str, float]:
    """By how much each limit is broken, as a share of it; a limit that is kept is not there."""
    found = {}
    if limits.most_drop is not None and each.loss > limits.most_drop:
        found["accuracy"] = (each.loss - limits.most_drop) / max(limits.most_drop, 1e-3)
    if limits.most_ms is not None and each.ms > limits.most_ms:
        found["time"] = each.ms / limits.most_ms - 1
    if limits.most_bytes is not None and each.bytes > limits.most_bytes:
        found["size"] = each.bytes / limits.most_bytes - 1
    return found


def _gain(original: Candidate, each: Candidate) -> float:
    return math.log(original.bytes / max(each.bytes, 1)) + math.log(original.ms / max(each.ms, 1e-6))


def _compared(original: Candidate, each: Candidate) -> str:
    size = _times(original.bytes / max(each.bytes, 1), "smaller", "larger")
    speed = _times(original.ms / max(each.ms, 1e-6), "faster", "slower")
    lost = f"loses {_percent(each.loss)} %" if each.loss > 0 else "loses nothing"
    return f"{size}, {speed}, {lost} ({_percent(each.loss_low)} to {_percent(each.loss_high)} %)"


def _times(ratio: float, more: str, less: str) -> str:
    if abs(ratio - 1) < _SAME:
        return {"smaller": "as large", "faster": "as fast"}[more]
    return f"{ratio:.1f}x {more}" if ratio > 1 else f"{1 / ratio:.1f}x {less}"


def _doubt(chosen: Candidate, limits: Limits) -> str:
    if limits.most_drop is None or chosen.loss_high <= limits.most_drop:
        return ""
    return f"; {chosen.rows} rows cannot rule out more than {_percent(limits.most_drop)} %: a larger sample can"


def _others(better: Sequence[Candidate], limits: Limits) -> str:
    """Why it is none of those that would gain more."""
    broken = [name for each in better for name in _excesses(each, limits)]
    if "accuracy" in broken and limits.most_drop is not None:
        return f"; smaller or faster ones lose more than {_percent(limits.most_drop)} %"
    return "; others that gain more break a limit" if broken else ""


def _said(limits: Limits) -> str:
    parts = []
    if limits.most_drop is not None:
        parts.append(f"a loss of at most {_percent(limits.most_drop)} %")
    if limits.most_ms is not None:
        parts.append(f"{limits.most_ms:g} ms a row")
    if limits.most_bytes is not None:
        parts.append(f"{limits.most_bytes / 1e6:g} MB")
    return ", ".join(parts)


def _figures(each: Candidate) -> str:
    return f"loses {_percent(each.loss)} %, {each.ms:.3g} ms a row, {each.bytes / 1e6:.3g} MB"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if abs(share) < 0.1 else f"{100 * share:.0f}"
