"""A cascade out of two measured variants: how sure the small one must be, and what that saves and costs.

Everything is chosen on the calibration part of the sample and measured on the other. The temperature makes the small
variant's confidence the probability that it is right (Guo et al., 2017, with the negative log-likelihood of being right
or wrong in place of that of the class, which a `[vision]` model's few best classes need not hold).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.engines.cascade import confidence_of_best, confidence_of_scores, scores_of
from airserve.models.manifest import Cascade, Manifest
from airserve.models.optimise.accuracy import classes

_TEMPERATURES = np.geomspace(0.05, 20.0, 121)
_CURVE_POINTS = 11
_TINY = 1e-9
_STEP = 1e-6


@dataclass(frozen=True, slots=True)
class Member:
    """A variant as a part of a cascade: its answers to all rows of the sample, and what a row costs it in ms."""

    name: str
    answers: Tensors
    ms: float


@dataclass(frozen=True, slots=True)
class Point:
    """The cascade at one threshold, on the measured rows: `share` of them stay small, `ms` is what a row costs then."""

    threshold: float
    share: float
    accuracy: float
    ms: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A cascade, what a row of it should cost on the calibration part, in ms, and its curve on the measured rows."""

    cascade: Cascade
    ms: float
    curve: tuple[Point, ...]
    answers: Tensors


def fit(manifest: Manifest, small: Member, full: Member, fitted: int, truth: Array, most_drop: float) -> Fitted | None:
    """The cheapest cascade of the two that loses at most `most_drop` (0.01: 1 %) on the first `fitted` rows.

    None where there is none, and where the small variant may answer everything. `truth` are the classes of all rows,
    int64: the sample's labels, or what `full` says.
    """
    small_class, full_class = classes(manifest, small.answers), classes(manifest, full.answers)
    assert small_class is not None and full_class is not None, "of classifiers alone"  # noqa: S101
    right, right_full = small_class == truth, full_class == truth
    temperature = fit_temperature(manifest, _part(small.answers, slice(None, fitted)), right[:fitted])
    sure = confidence(manifest, small.answers, temperature)
    threshold = choose_threshold(sure[:fitted], right[:fitted], right_full[:fitted], most_drop)
    if threshold is None:
        return None
    stays = sure >= threshold
    if stays[:fitted].all():
        # The small variant alone is as good: two would only take more room.
        return None
    here, share = slice(fitted, None), float(stays[fitted:].mean())
    cascade = Cascade(
        small=small.name, full=full.name, threshold=threshold, temperature=temperature, share=round(share, 4)
    )
    curve = _curve(sure[here], right[here], right_full[here], small.ms, full.ms)
    expected = small.ms + (1 - float(stays[:fitted].mean())) * full.ms
    return Fitted(cascade, expected, curve, merged(small.answers, full.answers, stays))


def confidence(manifest: Manifest, answers: Tensors, temperature: float) -> Array:
    """As the cascade that serves computes it: 0 to 1 a row."""
    vision = manifest.vision is not None
    scores = scores_of(answers, len(manifest.labels), vision=vision)
    return (confidence_of_best if vision else confidence_of_scores)(scores, temperature)


def fit_temperature(manifest: Manifest, answers: Tensors, right: Array) -> float:
    """The temperature at which the confidence best foretells whether the answer is `right` (bool [rows])."""

    def surprise(temperature: float) -> float:
        sure = np.clip(confidence(manifest, answers, temperature), _TINY, 1 - _TINY)
        return float(-np.mean(np.where(right, np.log(sure), np.log1p(-sure))))

    return round(float(min(_TEMPERATURES, key=surprise)), 6)


def choose_threshold(sure: Array, right: Array, right_full: Array, most_drop: float) -> float | None:
    """The lowest threshold that loses at most `most_drop` of the full variant's accuracy; None where it keeps no row.

    `sure` is the confidence of each row, `right` and `right_full` whether either variant answers it right.
    """
    order = np.argsort(-sure, kind="stable")
    lost = np.cumsum(right_full[order].astype(np.int64) - right[order]) / len(sure)
    # Rows that are equally sure stay or go together.
    last = np.append(np.diff(sure[order]) < 0, True)
    good = np.flatnonzero((lost <= most_drop + _TINY) & last)
    if not good.size:
        return None
    # Rounded down: the row that it was taken from stays sure.
    return float(np.floor(sure[order][good[-1]] / _STEP) * _STEP)


def merged(small: Tensors, full: Tensors, stays: Array) -> Tensors:
    """The answers of the cascade: whole rows of one or the other."""

    def rows(name: str) -> Array:
        keep = stays.reshape(-1, *[1] * (small[name].ndim - 1))
        return np.where(keep, small[name], full[name])

    return {name: rows(name) for name in full}


def _curve(sure: Array, right: Array, right_full: Array, small_ms: float, full_ms: float) -> tuple[Point, ...]:
    points = []
    for share in np.linspace(0.0, 1.0, _CURVE_POINTS):
        threshold = float(np.quantile(sure, 1 - share)) if share else 1.0
        stays = sure >= threshold if share else np.zeros(len(sure), bool)
        kept = float(stays.mean())
        accuracy = float(np.mean(np.where(stays, right, right_full)))
        points.append(Point(round(threshold, 6), kept, accuracy, small_ms + (1 - kept) * full_ms))
    return tuple(points)


def _part(answers: Tensors, rows: slice) -> Tensors:
    return {name: array[rows] for name, array in answers.items()}


def cheapest(fitted: Sequence[Fitted]) -> Fitted | None:
    """The one whose rows cost least."""
    return min(fitted, key=lambda each: each.ms, default=None)
